/** What a check finds: all is counted, the first thousand of each kind are kept. */

import { displayBytes } from '../core/bytes/utf8.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { ErrorCode } from '../core/errors.ts';

export interface Finding {
  readonly rule: string;
  /** Hash of the catalog that it was found in; missing where it is about none. */
  readonly catalog: string | undefined;
  /** Of the entry, in a form for people: bytes that are no text are escaped. */
  readonly path: string;
  readonly message: string;
}

const MAX_KEPT = 1000;

export class Findings {
  readonly kept: Finding[] = [];
  total = 0;

  add(rule: string, catalog: ContentHash | undefined, path: string, message: string): void {
    if (this.total++ >= MAX_KEPT) return;
    this.kept.push({ rule, catalog, path: path === '' ? '/' : displayBytes(path), message });
  }
}

const DAMAGE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(['NOT_FOUND', 'INTEGRITY', 'FORMAT', 'LIMIT', 'UNSUPPORTED'] as const),
  // A file that is there and cannot be read.
  'STORAGE',
]);

/** Failures of what is stored; others are of the way to it, or ours. A folder of this machine has no way to it. */
export function isDamage(code: ErrorCode, isLocal: boolean): boolean {
  return DAMAGE.has(code) || (isLocal && code === 'NETWORK');
}
