/**
 * The one error class of the project: a closed set of codes for programs, a sentence for people, and details for logs.
 * Edges translate codes by exhaustive tables: `cli/exit-codes.ts`, `core/errno.ts`.
 */

export type ErrorCode =
  | 'FORMAT' // bytes or text do not follow docs/format.md
  | 'INTEGRITY' // a hash or signature does not match
  | 'TRUST' // well signed, but not by someone we trust, or expired
  | 'NOT_FOUND'
  | 'NETWORK'
  | 'STORAGE' // a disk or folder failed: full, read-only, broken
  | 'CONFLICT'
  | 'UNSUPPORTED'
  | 'LIMIT'
  | 'USAGE'
  | 'CANCELLED'
  | 'INTERNAL';

export type Details = Readonly<Record<string, string | number | bigint | undefined>>;

export interface ErrorContext {
  /** What the reader can do about it; printed as the second line of a message. */
  readonly hint?: string | undefined;
  readonly details?: Details;
  readonly cause?: unknown;
}

export class ThimbleError extends Error {
  override readonly name = 'ThimbleError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Details;

  constructor(code: ErrorCode, message: string, context: ErrorContext = {}) {
    super(message, context.cause === undefined ? undefined : { cause: context.cause });
    this.code = code;
    this.hint = context.hint;
    this.details = context.details ?? {};
  }
}

/** The code of any thrown value; what is not ours is a bug of ours. */
export function errorCodeOf(error: unknown): ErrorCode {
  return error instanceof ThimbleError ? error.code : 'INTERNAL';
}

/** The sentence of any thrown value, with the sentences of its causes behind it. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${messageOf(error.cause)}`;
}

/** For programmer errors only, never for input. */
export function assert(condition: unknown, whyThisCannotHappen: string): asserts condition {
  if (!condition) throw new ThimbleError('INTERNAL', `Assertion failed: ${whyThisCannotHappen}`);
}
