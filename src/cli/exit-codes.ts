import type { ErrorCode } from '../core/errors.ts';

/** What a command ends with; docs/manual/exit-codes.md is the same table in words. */
export const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  INTERNAL: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  NETWORK: 4,
  INTEGRITY: 5,
  TRUST: 6,
  FORMAT: 7,
  STORAGE: 8,
  CONFLICT: 9,
  UNSUPPORTED: 10,
  LIMIT: 11,
  CANCELLED: 130,
};
