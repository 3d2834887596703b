/** What a failed call to an object store means: worth another attempt, an answer, or a message for people. */

import { messageOf, ThimbleError } from '../core/errors.ts';

/** Of what the library throws, the little that is of use; the rest holds signed headers, which go into no log. */
interface S3Failure {
  /** `NoSuchKey`, `SlowDown`, ...; or of the library, such as `CredentialsProviderError`. */
  readonly name: string;
  /** Undefined if there was no answer. */
  readonly status: number | undefined;
  /** Of the system, such as `ECONNREFUSED`. */
  readonly code: string | undefined;
}

function failureOf(error: unknown): S3Failure {
  if (!(error instanceof Error)) return { name: 'Unknown', status: undefined, code: undefined };
  const { name, $metadata, code } = error as Error & {
    $metadata?: { httpStatusCode?: number };
    code?: unknown;
  };
  return { name, status: $metadata?.httpStatusCode, code: typeof code === 'string' ? code : undefined };
}

/** There is no such file; a missing bucket is something else. */
export function isMissing(error: unknown): boolean {
  const { name, status } = failureOf(error);
  return status === 404 && name !== 'NoSuchBucket';
}

/** The server does not have a call, or not as we make it. */
export function isUnsupported(error: unknown): boolean {
  const { name, status } = failureOf(error);
  return [405, 411, 501].includes(status ?? 0) || (status === 400 && !PASSING.has(name));
}

const PASSING = new Set([
  'RequestTimeout',
  'RequestTimeTooSkewed',
  'SlowDown',
  'TimeoutError',
  'IncompleteBody',
]);

/** Without an answer, only these are a matter of time; others are settings that are missing. */
const NETWORK = /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EAI_AGAIN|ENOTFOUND|ERR_SSL|ERR_STREAM)/;

/** Worth another attempt. */
export function isPassing(error: unknown): boolean {
  const { name, status, code } = failureOf(error);
  if (PASSING.has(name)) return true;
  if (status === undefined) return NETWORK.test(code ?? '');
  return status === 429 || (status >= 500 && status !== 501);
}

/** The server wants fewer requests. */
export function isThrottling(error: unknown): boolean {
  const { name, status } = failureOf(error);
  return status === 429 || status === 503 || name === 'SlowDown';
}

export const MAKE_BUCKET = 'make the bucket first, for example with: aws s3 mb';

/** By name, else by code, else by status. */
const HINTS: Readonly<Record<string, string>> = {
  CredentialsProviderError:
    'there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
  InvalidAccessKeyId: 'the server does not know the access key; is it that of another server?',
  SignatureDoesNotMatch: 'the secret key does not belong to the access key, or the region is wrong',
  AuthorizationHeaderMalformed: 'the bucket is in another region; set region=',
  PermanentRedirect: 'the bucket is in another region; set region=',
  ExpiredToken: 'the credentials have expired; get new ones',
  RequestTimeTooSkewed: 'the clock of this machine is wrong',
  NoSuchBucket: MAKE_BUCKET,
  ECONNREFUSED: 'nothing listens there; is the server running, and endpoint= right?',
  ENOTFOUND: 'there is no such host; is endpoint= right, and should it be style=path?',
  EAI_AGAIN: 'the host cannot be looked up now; is there a network?',
  403: 'the credentials are wrong, or lack s3:ListBucket for the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below it',
  429: 'the server is overloaded; try again later',
  503: 'the server is overloaded; try again later',
  507: 'the storage is full',
};

/** `what`: such as `write s3://bucket/key`. */
export function storageFailure(what: string, error: unknown): ThimbleError {
  if (error instanceof ThimbleError) return error;
  const { name, status, code } = failureOf(error);
  const isNoRegion = messageOf(error) === 'Region is missing';
  const hint = isNoRegion
    ? 'set region= or AWS_REGION'
    : (HINTS[name] ?? HINTS[code ?? ''] ?? HINTS[status ?? '']);
  const reason =
    status === undefined ? messageOf(error) : `${name === 'Unknown' ? 'refused' : name} (${status})`;
  return new ThimbleError('STORAGE', `Cannot ${what}`, { hint, cause: new Error(reason) });
}
