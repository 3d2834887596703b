/** What a failure says about where to ask next. */

import { type ErrorCode, ThimbleError } from '../../core/errors.ts';

/** Failures of one server or of the way to it; others, such as a full disk, no server can mend. */
const OF_SERVERS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NETWORK',
  'NOT_FOUND',
  'INTEGRITY',
  'FORMAT',
  'LIMIT',
  'TRUST',
  'UNSUPPORTED',
]);

export function isOfServer(error: unknown): error is ThimbleError {
  return error instanceof ThimbleError && OF_SERVERS.has(error.code);
}

/** Of failures on the way, all but those that the server has told us itself. */
export function isOfProxy(error: unknown): boolean {
  return error instanceof ThimbleError && error.code === 'NETWORK' && error.details['blame'] !== 'server';
}

/** The connection broke in the middle of it: the same way may do the next time. */
export function hasBroken(error: unknown): boolean {
  return error instanceof ThimbleError && error.details['phase'] === 'transfer';
}

export function cancelled(path: string): ThimbleError {
  return new ThimbleError('CANCELLED', `Cannot get ${path}: the request was cancelled`);
}
