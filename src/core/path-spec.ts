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
  const names = text.split('/').filter((name) => name !== '');
  const isAbsolute = text.startsWith('/');
  if (text === '') throw new ThimbleError('FORMAT', `Cannot use ${where}: there is no path`);
  const pieces = names.map((name) => piecesOf(name, text, where));
  const start = isAbsolute ? '^/' : '(?:^|/)';
  const strict = pieces.map((part, index) => globPattern(part, '[^/]', index)).join('/');
  const exact = new RegExp(`${start}${strict}$`, 's');
  const relaxed = new RegExp(`${start}${globPattern(joined(pieces), '.')}$`, 's');
  const prefix = new RegExp(`${start}${strict}${names.length === 0 ? '' : '(?:/|$)'}`, 's');
  const levels = pieces.map((part) => new RegExp(`^${globPattern(part, '[^/]')}$`, 's'));
  return {
    text,
    isNegative,
    isAbsolute,
    matches: (path) => exact.test(path || '/'),
    matchesRelaxed: (path) => relaxed.test(path || '/'),
    matchesPrefix: (path) => prefix.test(path || '/'),
    mayMatchBelow: (directory) => {
      if (!isAbsolute) return true;
      const above = directory.split('/').slice(1);
      return above.length < levels.length && above.every((name, i) => levels[i]!.test(name));
    },
  };
}

/** The patterns before, between and behind the `*` of a name. */
function piecesOf(name: string, text: ByteString, where: string): string[] {
  const pieces = [''];
  for (let i = 0; i < name.length; i++) {
    const character = name[i]!;
    if (character === '*') pieces.push('');
    else if (character === '?') pieces[pieces.length - 1] += '[^/]';
    else if (character !== '\\') pieces[pieces.length - 1] += quote(character);
    else {
      const escaped = name[++i];
      if (escaped === undefined || !'*?\\'.includes(escaped)) {
        throw new ThimbleError(
          'FORMAT',
          `Cannot use ${where}: ${displayBytes(text)} has a backslash before something else than *, ? or \\`,
        );
      }
      pieces[pieces.length - 1] += quote(escaped);
    }
  }
  return pieces;
}

/** Pieces of a whole path: where names meet, the last of one and the first of the next are one. */
function joined(names: readonly (readonly string[])[]): string[] {
  const pieces = [''];
  for (const [index, name] of names.entries()) {
    pieces[pieces.length - 1] += `${index === 0 ? '' : '/'}${name[0]}`;
    pieces.push(...name.slice(1));
  }
  return pieces;
}

/**
 * Pieces with any run of `any` between them; `index` tells the globs of one pattern apart. A look-ahead holds on to the first
 * place where a piece fits, which is as good as any other: without it, a pattern with many `*` would try all places of all
 * pieces, for hours.
 */
function globPattern([first = '', ...more]: readonly string[], any: string, index = 0): string {
  const last = more.pop();
  if (last === undefined) return first;
  const middle = more.filter((piece) => piece !== '');
  const held = middle.map((piece, i) => `(?=(?<g${index}_${i}>${any}*?${piece}))\\k<g${index}_${i}>`);
  return `${first}${held.join('')}${any}*${last}`;
}

function quote(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/-]/, '\\$&');
}
