/**
 * The syntax of CernVM-FS configuration files: that part of the POSIX shell's language which they use. Assignments with
 * quotes and `$VARIABLES`, `export`, `readonly`, comments, continued lines, `&&`, `||`, `!`, `if`, and simple commands. Nothing
 * is run here: `shell-evaluation.ts` says what it means (docs/manual/configuration.md#the-files-of-cernvm-fs).
 */

import { ThimbleError } from '../core/errors.ts';

export interface VariableUse {
  readonly operator: '-' | '=' | '+';
  /** With `:` an empty value counts as none. */
  readonly isEmptyNone: boolean;
  readonly word: Word;
}

export type Part = (
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'variable'; readonly name: string; readonly use: VariableUse | undefined }
  | { readonly kind: 'arithmetic'; readonly text: string }
  /** What a shell would have to be asked for. */
  | { readonly kind: 'opaque'; readonly what: string }
) & { readonly isQuoted: boolean };

export interface Word {
  readonly parts: readonly Part[];
  readonly line: number;
}

export interface Assignment {
  readonly name: string;
  readonly value: Word;
  readonly line: number;
}

export interface SimpleCommand {
  readonly kind: 'simple';
  readonly assignments: readonly Assignment[];
  readonly words: readonly Word[];
  readonly line: number;
}

export interface AndOr {
  readonly kind: 'and-or';
  readonly first: Statement;
  readonly rest: readonly { readonly operator: '&&' | '||'; readonly statement: Statement }[];
  readonly line: number;
}

export interface Conditional {
  readonly kind: 'if';
  readonly clauses: readonly {
    readonly condition: readonly Statement[];
    readonly body: readonly Statement[];
  }[];
  readonly otherwise: readonly Statement[];
  readonly line: number;
}

export type Statement =
  | SimpleCommand
  | AndOr
  | Conditional
  | { readonly kind: 'not'; readonly statement: Statement; readonly line: number };

/** Also of values, and of files that include each other. */
export const MAX_CONFIGURATION_CHARACTERS = 1024 * 1024;
const MAX_DEPTH = 50;
const HINT = 'write it as plain assignments, or say it in /etc/thimble/client.yaml';

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const BLANK = /(?:[ \t]|\\\n)*/y;
/** What ends a word that is not quoted. */
const WORD_END = ' \t\n\r;&|<>()';
const NOT_READ = ['case', 'for', 'while', 'until', 'function', 'select', 'time', '{', '[['];
const CLOSING = ['then', 'elif', 'else', 'fi'];

/** Reads a file to its end. Throws FORMAT, LIMIT with its name and line. */
export function parseShell(text: string, file: string): readonly Statement[] {
  if (text.length > MAX_CONFIGURATION_CHARACTERS) {
    throw new ThimbleError('LIMIT', `Cannot read ${file}: it is larger than a configuration can be`);
  }
  return new Parser(text, file).parse();
}

class Parser {
  readonly #text: string;
  readonly #file: string;
  #at = 0;
  #line = 1;
  #depth = 0;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  parse(): Statement[] {
    const statements = this.#list();
    if (this.#at < this.#text.length)
      throw this.#wrong(`${JSON.stringify(this.#keyword())} without its "if"`);
    return statements;
  }

  #wrong(what: string, line = this.#line): ThimbleError {
    return new ThimbleError('FORMAT', `Cannot read ${this.#file} line ${line}: ${what}`, { hint: HINT });
  }

  /** One level deeper, for what can contain itself. */
  #nested<T>(read: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw this.#wrong('it is nested too deeply');
    const result = read();
    this.#depth--;
    return result;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const [found = ''] = pattern.exec(this.#text) ?? [];
    for (const character of found) if (character === '\n') this.#line++;
    this.#at += found.length;
    return found;
  }

  #skip(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false;
    this.#at += token.length;
    return true;
  }

  #skipBlanks(): void {
    this.#take(BLANK);
    if (this.#text[this.#at] !== '#') return;
    const end = this.#text.indexOf('\n', this.#at);
    this.#at = end < 0 ? this.#text.length : end;
  }

  /** Blanks, comments and ends of lines. */
  #skipLines(): void {
    this.#skipBlanks();
    while (this.#skip('\n')) {
      this.#line++;
      this.#skipBlanks();
    }
  }

  /** The word that is next, if nothing in it is quoted; where it is, nothing moves. */
  #keyword(): string {
    const pattern = /[^ \t\n\r;&|<>()"'\\$`#]+(?=[ \t\n\r;&|<>()]|$)/y;
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#text)?.[0] ?? '';
  }

  #expect(keyword: string, since: number): void {
    this.#skipLines();
    if (this.#keyword() !== keyword) throw this.#wrong(`"if" without its "${keyword}"`, since);
    this.#at += keyword.length;
  }

  /** Statements up to what ends them: the end of the text, or a word that belongs to an `if` around them. */
  #list(): Statement[] {
    const statements: Statement[] = [];
    for (;;) {
      this.#skipLines();
      if (this.#at >= this.#text.length || CLOSING.includes(this.#keyword())) return statements;
      statements.push(this.#andOr());
      this.#skipBlanks();
      const next = this.#text[this.#at];
      if (next === ';' && this.#text[this.#at + 1] !== ';') this.#at++;
      else if (next !== undefined && next !== '\n') throw this.#unexpected();
    }
  }

  #unexpected(): ThimbleError {
    const next = this.#text[this.#at] ?? '';
    const known: Readonly<Record<string, string>> = {
      '|': 'a pipe',
      '&': 'a command in the background',
      '<': 'a redirection',
      '>': 'a redirection',
      '(': 'a function or a subshell',
      '\r': 'a carriage return: its lines end as on Windows',
    };
    return this.#wrong(known[next] ?? `${JSON.stringify(next)} is not understood here`);
  }

  #andOr(): Statement {
    const line = this.#line;
    const first = this.#negatable();
    const rest: { operator: '&&' | '||'; statement: Statement }[] = [];
    for (;;) {
      this.#skipBlanks();
      const operator = (['&&', '||'] as const).find((token) => this.#skip(token));
      if (operator === undefined) return rest.length === 0 ? first : { kind: 'and-or', first, rest, line };
      this.#skipLines();
      rest.push({ operator, statement: this.#negatable() });
    }
  }

  #negatable(): Statement {
    const line = this.#line;
    this.#skipBlanks();
    if (this.#keyword() !== '!') return this.#command();
    this.#at++;
    return { kind: 'not', statement: this.#nested(() => this.#negatable()), line };
  }

  #command(): Statement {
    const keyword = this.#keyword();
    if (keyword === 'if') return this.#nested(() => this.#conditional());
    if (NOT_READ.includes(keyword)) throw this.#wrong(`"${keyword}" is not understood`);
    return this.#simple();
  }

  #conditional(): Conditional {
    const line = this.#line;
    const clauses: { condition: Statement[]; body: Statement[] }[] = [];
    let otherwise: Statement[] = [];
    for (let keyword = 'if'; keyword !== 'fi'; ) {
      this.#at += keyword.length;
      if (keyword === 'else') {
        otherwise = this.#list();
        this.#expect('fi', line);
        break;
      }
      const condition = this.#list();
      this.#expect('then', line);
      clauses.push({ condition, body: this.#list() });
      keyword = this.#keyword();
      if (!['elif', 'else', 'fi'].includes(keyword)) throw this.#wrong('"if" without its "fi"', line);
      if (keyword === 'fi') this.#at += keyword.length;
    }
    if (clauses.some(({ condition }) => condition.length === 0)) {
      throw this.#wrong('"if" without a condition', line);
    }
    return { kind: 'if', clauses, otherwise, line };
  }

  #simple(): SimpleCommand {
    const line = this.#line;
    const assignments: Assignment[] = [];
    const words: Word[] = [];
    for (;;) {
      this.#skipBlanks();
      const next = this.#text[this.#at];
      if (next === undefined || '\n;&|'.includes(next)) break;
      if (WORD_END.includes(next)) throw this.#unexpected();
      const assignment = words.length === 0 ? this.#assignment() : undefined;
      if (assignment === undefined) words.push(this.#word(WORD_END));
      else assignments.push(assignment);
    }
    if (assignments.length + words.length === 0) throw this.#unexpected();
    return { kind: 'simple', assignments, words, line };
  }

  #assignment(): Assignment | undefined {
    const [start, line] = [this.#at, this.#line];
    const name = this.#take(NAME);
    if (name !== '' && this.#text[this.#at] === '=') {
      this.#at++;
      if (this.#text[this.#at] === '(') throw this.#wrong('a list in parentheses is not understood');
      return { name, value: this.#word(WORD_END), line };
    }
    this.#at = start;
    return undefined;
  }

  /** Up to one of the characters in `end`, or to a closing brace that `end` is. */
  #word(end: string): Word {
    const line = this.#line;
    const parts: Part[] = [];
    while (this.#at < this.#text.length && !end.includes(this.#text[this.#at] as string)) {
      if (this.#skip("'")) parts.push(this.#singleQuoted());
      else if (this.#skip('"')) parts.push(...this.#doubleQuoted());
      else if (this.#skip('\\\n')) this.#line++;
      else if (this.#skip('\\')) parts.push(textPart(this.#character(), true));
      else if (this.#text[this.#at] === '$' || this.#text[this.#at] === '`') parts.push(this.#dollar(false));
      else parts.push(textPart(this.#character(), false));
    }
    return { parts: joined(parts), line };
  }

  #character(): string {
    const character = this.#text[this.#at] ?? '';
    if (character === '\r') throw this.#unexpected();
    if (character === '\n') this.#line++;
    this.#at++;
    return character;
  }

  #singleQuoted(): Part {
    const line = this.#line;
    const end = this.#text.indexOf("'", this.#at);
    if (end < 0) throw this.#wrong("a ' without its other one", line);
    const text = this.#text.slice(this.#at, end);
    this.#line += text.split('\n').length - 1;
    this.#at = end + 1;
    return textPart(text, true);
  }

  #doubleQuoted(): Part[] {
    const line = this.#line;
    // `""` is a word too.
    const parts: Part[] = [textPart('', true)];
    while (!this.#skip('"')) {
      const next = this.#text[this.#at];
      if (next === undefined) throw this.#wrong('a " without its other one', line);
      if (next === '\\') parts.push(this.#escapedInQuotes());
      else if (next === '$' || next === '`') parts.push(this.#dollar(true));
      else parts.push(textPart(this.#character(), true));
    }
    return parts;
  }

  #escapedInQuotes(): Part {
    this.#at++;
    const next = this.#character();
    if (next === '\n') return textPart('', true);
    return textPart('$`"\\'.includes(next) ? next : `\\${next}`, true);
  }

  /** What begins with a `$` or a backtick. */
  #dollar(isQuoted: boolean): Part {
    if (this.#skip('`')) return this.#opaque(/[^`]*`/y, 'the output of a command', isQuoted);
    this.#at++;
    if (this.#skip('((')) return this.#arithmetic(isQuoted);
    if (this.#skip('(')) return this.#substitution(isQuoted);
    if (this.#skip('{')) return this.#nested(() => this.#braced(isQuoted));
    if (this.#skip('$')) return { kind: 'opaque', what: 'the number of a process', isQuoted };
    const name = this.#take(NAME);
    if (name !== '') return { kind: 'variable', name, use: undefined, isQuoted };
    const special = this.#take(/[0-9@*#?!-]/y);
    if (special !== '') return { kind: 'opaque', what: `$${special}`, isQuoted };
    return textPart('$', isQuoted);
  }

  #opaque(pattern: RegExp, what: string, isQuoted: boolean): Part {
    if (this.#take(pattern) === '') throw this.#wrong(`${what}, without its end`);
    return { kind: 'opaque', what, isQuoted };
  }

  #arithmetic(isQuoted: boolean): Part {
    const inside = this.#take(/[^\n"'`;]{0,200}?\)\)/y);
    if (inside === '') throw this.#wrong('"$((" without its "))"');
    return { kind: 'arithmetic', text: inside.slice(0, -2), isQuoted };
  }

  /** `$(...)`: parentheses inside are counted, quoted ones too; nobody reads it further. */
  #substitution(isQuoted: boolean): Part {
    const line = this.#line;
    for (let open = 1; open > 0; ) {
      if (this.#at >= this.#text.length) throw this.#wrong('"$(" without its ")"', line);
      const character = this.#character();
      if (character === '(') open++;
      else if (character === ')') open--;
    }
    return { kind: 'opaque', what: 'the output of a command', isQuoted };
  }

  #braced(isQuoted: boolean): Part {
    const line = this.#line;
    const name = this.#take(NAME);
    const operator = this.#take(/:?[-=+]/y);
    if (name === '' || (operator === '' && this.#text[this.#at] !== '}')) {
      throw this.#wrong('what is in ${...} is not understood', line);
    }
    const word = this.#word('}');
    if (!this.#skip('}')) throw this.#wrong('"${" without its "}"', line);
    if (operator === '') return { kind: 'variable', name, use: undefined, isQuoted };
    const use = {
      operator: operator.slice(-1) as VariableUse['operator'],
      isEmptyNone: operator.length === 2,
      word,
    };
    return { kind: 'variable', name, use, isQuoted };
  }
}

function textPart(text: string, isQuoted: boolean): Part {
  return { kind: 'text', text, isQuoted };
}

/** Neighbouring texts as one, which was read character by character. */
function joined(parts: readonly Part[]): Part[] {
  const result: Part[] = [];
  let texts: string[] = [];
  let isQuoted = false;
  const flush = () => {
    if (texts.length > 0) result.push(textPart(texts.join(''), isQuoted));
    texts = [];
  };
  for (const part of parts) {
    if (part.kind !== 'text') {
      flush();
      result.push(part);
    } else {
      if (part.isQuoted !== isQuoted) flush();
      isQuoted = part.isQuoted;
      texts.push(part.text);
    }
  }
  flush();
  return result;
}
