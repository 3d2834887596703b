/** What a failure says about where to ask next. */

import { type ErrorCode, errorCodeOf, ThimbleError } from '../../core/errors.ts';

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

/** Not a word of HTTP has come: no address, no connection, or nothing on it. */
export function isUnanswered(error: unknown): boolean {
  if (!(error instanceof ThimbleError) || error.code !== 'NETWORK') return false;
  return error.details['answered'] === 'no' || error.details['phase'] === 'resolve';
}

/** Of the failures of two servers, the one to tell: "not here" of one says less than silence of another, and silence less than the rest. */
export function moreTelling(before: unknown, after: unknown): unknown {
  return weightOf(after) >= weightOf(before) ? after : before;
}

function weightOf(failure: unknown): number {
  if (failure === undefined) return 0;
  if (errorCodeOf(failure) === 'NOT_FOUND') return 1;
  return isUnanswered(failure) ? 2 : 3;
}

export function cancelled(path: string): ThimbleError {
  return new ThimbleError('CANCELLED', `Cannot get ${path}: the request was cancelled`);
}

export function outOfTime(path: string): ThimbleError {
  return new ThimbleError('NETWORK', `Cannot get ${path}: out of time`);
}
