/** Which parts of a tree are wanted (docs/manual/replicate.md#a-part-of-a-tree). */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { utf8 } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import { type PathSpec, parsePathSpec } from '../core/path-spec.ts';

export interface PathFilter {
  /** As it is published in the replica. */
  readonly text: string;
  /** True for what is wanted, and for the directories on the way there. */
  includes(path: ByteString): boolean;
}

/** Reads path specifications; those that begin with `!` leave out. Throws USAGE. */
export function parsePathFilter(specifications: readonly string[]): PathFilter {
  const specs = specifications.map(parse);
  const wanted = specs.filter(({ isNegative }) => !isNegative);
  const unwanted = specs.filter(({ isNegative }) => isNegative);
  if (wanted.length === 0) {
    throw new ThimbleError('USAGE', 'Cannot replicate a part: only what to leave out is given', {
      hint: "begin with what to take; --include '/*' takes everything",
    });
  }
  return {
    text: ['version 1', ...specifications].map((line) => `${line}\n`).join(''),
    includes: (path) =>
      path === '' ||
      (wanted.some((spec) => spec.matchesPrefix(path) || spec.mayMatchBelow(path)) &&
        !withParents(path).some((one) => unwanted.some((spec) => spec.matchesRelaxed(one)))),
  };
}

function parse(specification: string): PathSpec {
  const isNegative = specification.startsWith('!');
  const text = utf8(isNegative ? specification.slice(1) : specification);
  try {
    // Readers of the file cut lines at both ends.
    if (/^\s|\s$|[\n\r]/.test(text)) throw new ThimbleError('FORMAT', 'there is white space around it');
    const spec = parsePathSpec(text, isNegative, '--include');
    if (isNegative || spec.isAbsolute) return spec;
    throw new ThimbleError('FORMAT', 'it does not begin with /');
  } catch (error) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(specification)} as a path to replicate`, {
      hint: "paths look like /usr/lib, /usr/*/lib or '!/usr/share/doc'",
      cause: error,
    });
  }
}

/** `/usr/lib` gives `/usr` and `/usr/lib`. */
function withParents(path: ByteString): ByteString[] {
  const names = path.split('/');
  return names.slice(1).map((_, depth) => names.slice(0, depth + 2).join('/') as ByteString);
}
