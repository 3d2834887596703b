/** Linux error numbers, and the one place where error codes become them. */

import { type ErrorCode, errorCodeOf, ThimbleError } from './errors.ts';

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EACCES = 13;
export const EXDEV = 18;
export const ENOTDIR = 20;
export const EISDIR = 21;
export const EINVAL = 22;
export const ENOTTY = 25;
export const ENOSPC = 28;
export const EROFS = 30;
export const ERANGE = 34;
export const ENAMETOOLONG = 36;
export const ENOSYS = 38;
export const ENODATA = 61;
export const ENOTSUP = 95;
export const ENETUNREACH = 101;
export const ESTALE = 116;

const ERRNO: Readonly<Record<ErrorCode, number>> = {
  FORMAT: EIO,
  INTEGRITY: EIO,
  TRUST: EIO,
  // An object that the catalog names but no server has: the entry exists, so ENOENT would be a lie.
  NOT_FOUND: EIO,
  NETWORK: EIO,
  STORAGE: EIO,
  CONFLICT: EIO,
  UNSUPPORTED: EIO,
  LIMIT: EIO,
  USAGE: EINVAL,
  CANCELLED: EINTR,
  INTERNAL: EIO,
};

/** What a reader is told. Where no server has answered at all, nothing is wrong with what is read: it is too far away now. */
export function errnoOf(error: unknown): number {
  if (error instanceof ThimbleError && error.code === 'NETWORK' && error.details['answered'] === 'no')
    return ENETUNREACH;
  return ERRNO[errorCodeOf(error)];
}
