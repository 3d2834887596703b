/**
 * Path specifications: patterns for paths in a repository, as in `.cvmfsdirtab` and in lists of what to replicate
 * (docs/format.md#path-specifications). `*` is any run of bytes without a slash, `?` one such byte, and `\` takes the
 * meaning from `*`, `?` and `\`.
 */

import type { ByteString } from './bytes/byte-string.ts';
import { displayBytes } from './bytes/utf8.ts';
import { ThimbleError } from './errors.ts';

export interface PathSpec {
  /** As written, without the `!`. */
  readonly text: ByteString;
  readonly isNegative: boolean;
  readonly isAbsolute: boolean;
  /** The whole path; `*` stays within a name. */
  matches(path: ByteString): boolean;
  /** The whole path; `*` may cross slashes, and a relative specification may begin at any of them. */
  matchesRelaxed(path: ByteString): boolean;
  /** The path, or one that it is below. */
  matchesPrefix(path: ByteString): boolean;
  /** True if something below this directory may match. */
  mayMatchBelow(directory: ByteString): boolean;
}

/** Lines of a file of specifications: empty ones and those that begin with `#` are comments. Throws FORMAT, with the line. */
export function parsePathSpecs(text: ByteString, file: string): readonly PathSpec[] {
  const specs: PathSpec[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const trimmed = line.replace(/[ \t\r]+$/, '').replace(/^[ \t]+/, '');
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const isNegative = trimmed.startsWith('!');
    const rest = (isNegative ? trimmed.slice(1).replace(/^[ \t]+/, '') : trimmed) as ByteString;
    specs.push(parsePathSpec(rest, isNegative, `${file}, line ${index + 1}`));
  }
  return specs;
}

/** Throws FORMAT for an empty specification and for one that escapes anything else. */
export function parsePathSpec(text: ByteString, isNegative: boolean, where: string): PathSpec {
  if (text === '') throw new ThimbleError('FORMAT', `Cannot use ${where}: there is no path`);
  const isAbsolute = text.startsWith('/');
  const names = namesOf(text).map((name) => parseName(name, text, where));
  const whole = names.flatMap((name, i) => (i === 0 ? name : [SLASH, ...name]));
  const matchesAt = (path: readonly string[], from: number) =>
    from + names.length <= path.length && names.every((name, i) => matchTokens(name, path[from + i]!));
  return {
    text,
    isNegative,
    isAbsolute,
    matches: (path) => {
      const parts = namesOf(path);
      const from = parts.length - names.length;
      return (isAbsolute ? from === 0 : from >= 0) && matchesAt(parts, from);
    },
    matchesRelaxed: (path) => {
      const parts = namesOf(path);
      const starts = isAbsolute ? [0] : parts.keys();
      for (const from of starts) if (matchTokens(whole, parts.slice(from).join('/'))) return true;
      return false;
    },
    matchesPrefix: (path) => {
      const parts = namesOf(path);
      const starts = isAbsolute ? [0] : parts.keys();
      for (const from of starts) if (matchesAt(parts, from)) return true;
      return false;
    },
    mayMatchBelow: (directory) => {
      if (!isAbsolute) return true;
      const above = namesOf(directory);
      return above.length < names.length && above.every((name, i) => matchTokens(names[i]!, name));
    },
  };
}

function namesOf(path: string): string[] {
  return path.split('/').filter((name) => name !== '');
}

const SLASH = '/'.charCodeAt(0);
/** Any run of bytes. */
const RUN = -1;
/** Any byte but a slash. */
const ANY = -2;

/** Byte values, and those two. */
function parseName(name: string, text: ByteString, where: string): number[] {
  const tokens: number[] = [];
  for (let i = 0; i < name.length; i++) {
    const character = name[i]!;
    if (character === '*') tokens.push(RUN);
    else if (character === '?') tokens.push(ANY);
    else if (character !== '\\') tokens.push(name.charCodeAt(i));
    else {
      const escaped = name[++i];
      if (escaped === undefined || !'*?\\'.includes(escaped)) {
        throw new ThimbleError(
          'FORMAT',
          `Cannot use ${where}: ${displayBytes(text)} has a backslash before something else than *, ? or \\`,
        );
      }
      tokens.push(name.charCodeAt(i));
    }
  }
  return tokens;
}

/**
 * True if all of the text matches. When it does not go on, only the last run is made longer: what came before it matches as
 * well as it ever will. So the time is at most the product of both lengths, whatever the pattern; a regular expression could
 * take for ever.
 */
function matchTokens(tokens: readonly number[], text: string): boolean {
  let token = 0;
  let lastRun = -1;
  let runEnd = 0;
  for (let at = 0; at < text.length; ) {
    const wanted = tokens[token];
    const found = text.charCodeAt(at);
    if (wanted === RUN) {
      lastRun = token++;
      runEnd = at;
    } else if (wanted === found || (wanted === ANY && found !== SLASH)) {
      token++;
      at++;
    } else if (lastRun >= 0) {
      token = lastRun + 1;
      at = ++runEnd;
    } else return false;
  }
  while (tokens[token] === RUN) token++;
  return token === tokens.length;
}
