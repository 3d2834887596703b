/**
 * What a CernVM-FS configuration file says, without a shell: nothing is ever run. Where a shell would be needed, the value is
 * unknown, and so is what depends on it; who asks for an unknown value is told file and line.
 */

import { ThimbleError } from '../core/errors.ts';
import type { Finding } from './client-settings.ts';
import type { AndOr, Conditional, SimpleCommand, Statement, VariableUse, Word } from './shell-syntax.ts';
import { type Assignment, MAX_CONFIGURATION_CHARACTERS, type Part, parseShell } from './shell-syntax.ts';
import { evaluateArithmetic, evaluateTest, matchesPlainPattern } from './shell-tests.ts';

export interface Variable {
  /** `undefined`: unknown, for the reason in `why`. */
  readonly value: string | undefined;
  readonly why: string;
  /** `FILE:LINE`. */
  readonly where: string;
  /** Whether everybody may read that file. */
  readonly isPublic: boolean;
}

export interface FileSystemView {
  /** `undefined` if there is no such file. Throws STORAGE. */
  read(path: string): { readonly text: string; readonly isPublic: boolean } | undefined;
  isFile(path: string): boolean;
  isFolder(path: string): boolean;
}

export interface EvaluationOptions {
  readonly files: FileSystemView;
  /** Stands for $RANDOM and $$, which spread machines over servers: the same each time on one machine. */
  readonly machineNumber: number;
}

const MAX_VALUE_CHARACTERS = 64 * 1024;
const MAX_INCLUDED = 100;
/** What a shell has without a file that says so. */
const SHELL_VARIABLES =
  /^(HOME|USER|LOGNAME|PATH|PWD|OLDPWD|HOSTNAME|SHELL|E?UID|PPID|HOSTTYPE|OSTYPE|MACHTYPE|LINENO|SECONDS|IFS|TERM|LANG|LC_.*)$/;
/** Commands that can change variables in ways that are not read here. */
const NOT_READ = [
  'eval',
  'read',
  'set',
  'shift',
  'declare',
  'typeset',
  'local',
  'alias',
  'getopts',
  'exec',
  'trap',
];

/** A result that is not known is `undefined`. */
type Truth = boolean | undefined;

/** Reads files one after another; later assignments win. */
export class ShellEvaluation {
  readonly variables = new Map<string, Variable>();
  readonly findings: Finding[] = [];
  readonly #options: EvaluationOptions;
  #file = '';
  #folder = '';
  #isPublic = true;
  #isReturned = false;
  #included = 0;
  #characters = 0;

  constructor(options: EvaluationOptions) {
    this.#options = options;
  }

  set(name: string, value: string, where: string): void {
    this.variables.set(name, { value, why: '', where, isPublic: true });
  }

  /** Whether there is such a file. Throws FORMAT, LIMIT with file and line; STORAGE. */
  include(path: string): boolean {
    const read = this.#options.files.read(path);
    if (read === undefined) return false;
    this.#characters += read.text.length;
    if (++this.#included > MAX_INCLUDED || this.#characters > MAX_CONFIGURATION_CHARACTERS) {
      throw new ThimbleError('LIMIT', `Cannot read ${path}: the files before it include too many others`);
    }
    const before = [this.#file, this.#folder, this.#isPublic] as const;
    this.#isPublic = read.isPublic;
    this.#file = path;
    // A shell is started in the folder of a file; what that includes does not move it.
    if (before[0] === '') this.#folder = path.replace(/\/[^/]*$/, '');
    try {
      this.#list(parseShell(read.text, path));
    } finally {
      this.#isReturned = false;
      [this.#file, this.#folder, this.#isPublic] = before;
    }
    return true;
  }

  #where(line: number): string {
    return `${this.#file}:${line}`;
  }

  #wrong(line: number, what: string): ThimbleError {
    return new ThimbleError('FORMAT', `Cannot read ${this.#file} line ${line}: ${what}`, {
      hint: 'write it as plain assignments, or say it in /etc/thimble/client.yaml',
    });
  }

  #warn(line: number, message: string): void {
    this.findings.push({ severity: 'warning', where: this.#where(line), message });
  }

  #list(statements: readonly Statement[]): Truth {
    let truth: Truth = true;
    for (const statement of statements) {
      if (this.#isReturned) break;
      truth = this.#run(statement);
    }
    return truth;
  }

  #run(statement: Statement): Truth {
    switch (statement.kind) {
      case 'simple':
        return this.#simple(statement);
      case 'not': {
        const truth = this.#run(statement.statement);
        return truth === undefined ? undefined : !truth;
      }
      case 'and-or':
        return this.#andOr(statement);
      case 'if':
        return this.#if(statement);
    }
  }

  #andOr({ first, rest }: AndOr): Truth {
    let truth = this.#run(first);
    for (const { operator, statement } of rest) {
      if (truth === undefined) this.#doubt([statement]);
      else if (truth === (operator === '&&')) truth = this.#run(statement);
    }
    return truth;
  }

  #if({ clauses, otherwise }: Conditional): Truth {
    for (const [index, { condition, body }] of clauses.entries()) {
      const truth = this.#list(condition);
      if (truth === true) return this.#list(body);
      if (truth === undefined) {
        const left = clauses.slice(index);
        this.#doubt([...left.flatMap((one) => [...one.condition.slice(1), ...one.body]), ...otherwise]);
        return undefined;
      }
    }
    return this.#list(otherwise);
  }

  /** Whether these are run is unknown: so is what they would assign. */
  #doubt(statements: readonly Statement[]): void {
    for (const statement of statements) {
      if (statement.kind === 'not') this.#doubt([statement.statement]);
      else if (statement.kind === 'and-or')
        this.#doubt([statement.first, ...statement.rest.map((one) => one.statement)]);
      else if (statement.kind === 'if') {
        this.#doubt(statement.clauses.flatMap((one) => [...one.condition, ...one.body]));
        this.#doubt(statement.otherwise);
      } else this.#doubtSimple(statement);
    }
  }

  #doubtSimple({ assignments, words, line }: SimpleCommand): void {
    const command = plainText(words[0]);
    if (
      words.length > 0 &&
      (command === undefined || ['.', 'source', 'return', 'exit', 'unset', ...NOT_READ].includes(command))
    ) {
      throw this.#wrong(
        line,
        `whether "${command ?? '...'}" is done here depends on what only a shell can tell`,
      );
    }
    const declared = command === 'export' || command === 'readonly' ? words.slice(1) : [];
    const names = [...assignments.map(({ name }) => name), ...declared.map((word) => plainName(word))];
    const why = 'it is said under a condition that only a shell can tell';
    for (const name of names) if (name !== '') this.#assign(name, undefined, line, why);
  }

  #assign(name: string, value: string | undefined, line: number, why: string): void {
    const known = value?.includes('�') ? undefined : value;
    const reason = value === known ? why : 'it is not UTF-8';
    this.variables.set(name, {
      value: known,
      why: reason,
      where: this.#where(line),
      isPublic: this.#isPublic,
    });
  }

  #assignAll(assignments: readonly Assignment[]): Truth {
    for (const { name, value, line } of assignments) {
      const expanded = this.#expand(value);
      this.#assign(name, expanded.text, line, expanded.why);
    }
    return true;
  }

  #simple({ assignments, words, line }: SimpleCommand): Truth {
    if (words.length === 0) return this.#assignAll(assignments);
    const name = plainText(words[0]);
    if (name === undefined) throw this.#wrong(line, 'a command whose name only a shell can tell');
    // Those before a command are for that command alone.
    const rest = words.slice(1);
    switch (name) {
      case ':':
      case 'true':
        for (const word of rest) this.#expand(word);
        return true;
      case 'false':
        return false;
      case 'export':
      case 'readonly':
        return this.#assignAll(rest.flatMap((word) => declaration(word)));
      case 'unset':
        for (const word of rest) this.variables.delete(plainText(word) ?? '');
        return true;
      case 'return':
      case 'exit':
        this.#isReturned = true;
        return true;
      case '.':
      case 'source':
        return this.#source(rest, line);
      case '[':
      case 'test':
        return this.#test(name, rest, line);
      case 'grep':
        return this.#grep(rest, line);
      default:
        if (NOT_READ.includes(name)) throw this.#wrong(line, `"${name}" is not understood`);
        this.#warn(line, `the command "${name}" is not run`);
        return undefined;
    }
  }

  #source(words: readonly Word[], line: number): Truth {
    const [path, ...others] = words.map((word) => this.#expand(word).text);
    if (path === undefined || path === '' || others.length > 0 || /[*?[]/.test(path)) {
      throw this.#wrong(line, 'which file to include is not understood');
    }
    const full = path.startsWith('/') ? path : `${this.#folder}/${path}`;
    if (!this.include(full)) {
      // A shell ends here, and nothing of the file would count.
      throw this.#wrong(line, `there is no ${full} to include`);
    }
    return true;
  }

  #test(name: string, words: readonly Word[], line: number): Truth {
    const fields = this.#fields(words);
    if (fields === undefined) return undefined;
    if (name === '[' && fields.pop() !== ']') throw this.#wrong(line, '"[" without its "]"');
    const result = evaluateTest(fields, this.#options.files);
    if (result === 'not understood') {
      this.#warn(line, `the test "${fields.join(' ')}" is not understood`);
      return undefined;
    }
    return result;
  }

  /** `grep -q WORDS FILE`, as a stock file asks for the name of a release. */
  #grep(words: readonly Word[], line: number): Truth {
    const [option, pattern, path, ...others] = this.#fields(words) ?? [];
    if (option !== '-q' || pattern === undefined || path === undefined || others.length > 0) {
      this.#warn(line, 'the command "grep" is not run');
      return undefined;
    }
    const found = this.#options.files.read(path);
    const result = found === undefined ? false : matchesPlainPattern(pattern, found.text);
    if (result === undefined) this.#warn(line, `the pattern "${pattern}" is not understood`);
    return result;
  }

  /** Words as a command gets them: what is not quoted is split at blanks, and may vanish. */
  #fields(words: readonly Word[]): string[] | undefined {
    const fields: string[] = [];
    for (const { parts, line } of words) {
      const pieces = parts.map((part) => ({ part, ...this.#expand({ parts: [part], line }) }));
      if (pieces.some(({ text }) => text === undefined)) return undefined;
      const isSplit = pieces.some(({ part }) => part.kind !== 'text' && !part.isQuoted);
      const text = pieces.map((piece) => piece.text).join('');
      const isQuoted = parts.some((part) => part.isQuoted);
      if (!isSplit || isQuoted) fields.push(text);
      else fields.push(...text.split(/[ \t\n]+/).filter((field) => field !== ''));
    }
    return fields;
  }

  /** `text` is `undefined` for what only a shell can tell. */
  #expand({ parts, line }: Word): { text: string | undefined; why: string } {
    let text = '';
    for (const [index, part] of parts.entries()) {
      const value = this.#part(part, line, index === 0);
      if (value.text === undefined) return value;
      text += value.text;
      if (text.length > MAX_VALUE_CHARACTERS) throw this.#wrong(line, 'a value grows beyond what one can be');
    }
    return { text, why: '' };
  }

  #part(part: Part, line: number, isFirst: boolean): { text: string | undefined; why: string } {
    switch (part.kind) {
      case 'text':
        if (isFirst && !part.isQuoted && part.text.startsWith('~')) {
          return { text: undefined, why: 'whose home "~" is only a shell can tell' };
        }
        return { text: part.text, why: '' };
      case 'opaque':
        return { text: undefined, why: `it is ${part.what}, and nothing is run` };
      case 'arithmetic': {
        const value = evaluateArithmetic(part.text, (name) => this.#number(name));
        return { text: value, why: `"$((${part.text}))" is not understood` };
      }
      case 'variable':
        return part.use === undefined ? this.#value(part.name) : this.#used(part.name, part.use, line);
    }
  }

  #number(name: string): string | undefined {
    return name === 'RANDOM' || name === '$' ? String(this.#options.machineNumber) : this.#value(name).text;
  }

  #value(name: string): { text: string | undefined; why: string } {
    const variable = this.variables.get(name);
    if (variable !== undefined) {
      return { text: variable.value, why: `it needs ${name}, and ${variable.why} (${variable.where})` };
    }
    if (name === 'RANDOM') return { text: String(this.#options.machineNumber), why: '' };
    if (SHELL_VARIABLES.test(name)) return { text: undefined, why: `$${name} is only known to a shell` };
    return { text: '', why: '' };
  }

  /** `${NAME:-word}` and its like. */
  #used(name: string, use: VariableUse, line: number): { text: string | undefined; why: string } {
    const isSet = this.variables.has(name) || name === 'RANDOM' || SHELL_VARIABLES.test(name);
    const value = this.#value(name);
    if (isSet && value.text === undefined) return value;
    const isThere = isSet && !(use.isEmptyNone && value.text === '');
    if (use.operator === '+') return isThere ? this.#expand(use.word) : { text: '', why: '' };
    if (isThere) return value;
    const given = this.#expand(use.word);
    if (use.operator === '=') this.#assign(name, given.text, line, given.why);
    return given;
  }
}

function plainText(word: Word | undefined): string | undefined {
  if (word === undefined || word.parts.some((part) => part.kind !== 'text')) return undefined;
  return word.parts.map((part) => (part.kind === 'text' ? part.text : '')).join('');
}

/** The name in `NAME` or `NAME=VALUE`. */
function plainName({ parts }: Word): string {
  const [first] = parts;
  return first?.kind === 'text' ? (/^[A-Za-z_]\w*/.exec(first.text)?.[0] ?? '') : '';
}

/** `NAME=VALUE` behind `export` or `readonly`; a `NAME` alone assigns nothing. */
function declaration(word: Word): Assignment[] {
  const [first, ...rest] = word.parts;
  if (first?.kind !== 'text' || first.isQuoted) return [];
  const name = plainName(word);
  if (name === '' || first.text[name.length] !== '=') return [];
  const begin: Part = { ...first, text: first.text.slice(name.length + 1) };
  return [{ name, value: { parts: [begin, ...rest], line: word.line }, line: word.line }];
}
