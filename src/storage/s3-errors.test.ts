import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { inspect } from 'node:util';
import { fileScope } from '../../test/support/file-scope.ts';
import { noise } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';
import { freePort, type RawServer, response, startRawServer } from '../../test/support/raw-server.ts';
import { startS3Server } from '../../test/support/s3-server.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { allObjects } from '../../test/support/wrapped-storage.ts';
import { parseS3Location } from './s3-location.ts';
import { type S3Options, S3Storage } from './s3-storage.ts';

const OBJECT = 'data/ab/cdef';
const SECRET = 'the-secret-key-of-a-test';
const options = needs('ceph');
const server = options.skip === false ? await startS3Server(fileScope()) : undefined;

/** What the environment says, as long as the test runs. */
function withEnvironment(t: TestContext, values: Readonly<Record<string, string | undefined>>): void {
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]));
  const set = (wanted: typeof values) => {
    for (const [name, value] of Object.entries(wanted)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  set(values);
  t.after(() => set(before));
}

const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'test-access', AWS_SECRET_ACCESS_KEY: SECRET };

function storageAt(t: TestContext, address: string, more: S3Options = {}): S3Storage {
  const storage = new S3Storage(parseS3Location(address), { attempts: 2, pauseMs: 1, ...more });
  t.after(() => storage.close());
  return storage;
}

/** The error of a promise; it holds nothing that is secret, however closely one looks. */
async function failureOf(promise: Promise<unknown>) {
  const error = await promise.then(
    () => assert.fail('it worked'),
    (thrown: Error & { code: string; hint?: string }) => thrown,
  );
  assert.equal(error.code, 'STORAGE');
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  assert.doesNotMatch(shown, new RegExp(`${SECRET}|Signature=|Credential=`));
  return { message: error.message, cause: (error.cause as Error | undefined)?.message, hint: error.hint };
}

function failingServer(t: TestContext, status: string, code: string): Promise<RawServer> {
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>why</Message></Error>`;
  return startRawServer(t, (socket) => void socket.write(response(body, status)));
}

for (const [status, code, hint, attempts] of [
  ['403 Forbidden', 'AccessDenied', /s3:ListBucket .* s3:DeleteObject/, 1],
  ['403 Forbidden', 'InvalidAccessKeyId', /does not know the access key/, 1],
  ['403 Forbidden', 'SignatureDoesNotMatch', /secret key does not belong/, 1],
  ['403 Forbidden', 'RequestTimeTooSkewed', /clock of this machine/, 2],
  ['400 Bad Request', 'AuthorizationHeaderMalformed', /another region; set region=/, 1],
  ['400 Bad Request', 'ExpiredToken', /have expired/, 1],
  ['301 Moved', 'PermanentRedirect', /another region; set region=/, 1],
  ['404 Not Found', 'NoSuchBucket', /aws s3 mb/, 1],
  ['400 Bad Request', 'InvalidArgument', undefined, 1],
  ['400 Bad Request', 'RequestTimeout', undefined, 2],
  ['429 Too Many Requests', 'TooManyRequests', /overloaded/, 2],
  ['500 Internal Server Error', 'InternalError', undefined, 2],
  ['501 Not Implemented', 'NotImplemented', undefined, 1],
  ['503 Service Unavailable', 'SlowDown', /overloaded/, 2],
  ['507 Insufficient Storage', 'QuotaExceeded', /full/, 2],
] as const) {
  test(`"${status}", ${code}: STORAGE after ${attempts} of 2 attempts, with a hint where there is one`, async (t) => {
    withEnvironment(t, CREDENTIALS);
    const raw = await failingServer(t, status, code);
    const storage = storageAt(t, `s3://bucket/cvmfs/os.example.org?endpoint=${raw.url}`);
    const failure = await failureOf(storage.read(OBJECT));
    assert.equal(failure.message, `Cannot read s3://bucket/cvmfs/os.example.org/${OBJECT}`);
    assert.equal(failure.cause, `${code} (${status.slice(0, 3)})`);
    if (hint === undefined) assert.equal(failure.hint, undefined);
    else assert.match(failure.hint!, hint);
    assert.equal(raw.requests.length, attempts);
  });
}

test('nothing that listens: all attempts are made, and the hint names the usual reasons', async (t) => {
  withEnvironment(t, CREDENTIALS);
  const port = await freePort();
  const storage = storageAt(t, `s3://bucket/p?endpoint=http://127.0.0.1:${port}`);
  const failure = await failureOf(storage.putObject(OBJECT, noise(10)));
  assert.equal(failure.message, `Cannot look at s3://bucket/p/${OBJECT}`);
  assert.equal(failure.cause, `connect ECONNREFUSED 127.0.0.1:${port}`);
  assert.equal(failure.hint, 'nothing listens there; is the server running, and endpoint= right?');
});

test('no credentials: the hint says where they belong', async (t) => {
  withEnvironment(t, {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_PROFILE: undefined,
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_EC2_METADATA_DISABLED: 'true',
  });
  const failure = await failureOf(storageAt(t, 's3://bucket/p?endpoint=http://127.0.0.1:1').create());
  assert.equal(failure.message, 'Cannot use bucket bucket');
  assert.match(failure.hint!, /set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE/);
});

test('credentials of a profile serve as well', options, async (t) => {
  const file = `${scratchFolder(t)}/credentials`;
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = server!.credentials;
  writeFileSync(
    file,
    `[mine]\naws_access_key_id = ${AWS_ACCESS_KEY_ID}\naws_secret_access_key = ${AWS_SECRET_ACCESS_KEY}\n`,
  );
  withEnvironment(t, {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_SHARED_CREDENTIALS_FILE: file,
    AWS_PROFILE: 'mine',
  });
  await storageAt(t, server!.address(server!.location())).create();
});

test('no region, where Amazon is asked: the hint says how to give one', async (t) => {
  withEnvironment(t, {
    ...CREDENTIALS,
    AWS_REGION: undefined,
    AWS_PROFILE: undefined,
    AWS_CONFIG_FILE: '/nonexistent',
  });
  const failure = await failureOf(storageAt(t, 's3://bucket/p').size(OBJECT));
  assert.deepEqual(failure, {
    message: `Cannot look at s3://bucket/p/${OBJECT}`,
    cause: 'Region is missing',
    hint: 'set region= or AWS_REGION',
  });
});

test('a bucket that is not there: create() says so, and what to do', options, async (t) => {
  const location = server!.location({ bucket: 'no-such-bucket' });
  const storage = new S3Storage(location);
  t.after(() => storage.close());
  const failure = await failureOf(storage.create());
  assert.equal(failure.message, 'Cannot use bucket no-such-bucket: there is none');
  assert.match(failure.hint!, /aws s3 mb/);
  const write = await failureOf(storage.replace('file', noise(1)));
  assert.equal(write.cause, 'NoSuchBucket (404)');
});

for (const [what, changes, cause, hint] of [
  ['secret', { AWS_SECRET_ACCESS_KEY: SECRET }, 'SignatureDoesNotMatch (403)', /secret key does not belong/],
  ['access', { AWS_ACCESS_KEY_ID: 'nobody' }, 'InvalidAccessKeyId (403)', /does not know the access key/],
] as const) {
  test(`a wrong ${what} key gives a clean error for every call`, options, async (t) => {
    withEnvironment(t, { ...server!.credentials, ...changes });
    const storage = storageAt(t, server!.address(server!.location()));
    for (const call of [
      () => storage.replace('file', noise(10)),
      () => storage.read('file'),
      () => storage.remove(['file', 'other']),
      () => allObjects(storage),
    ]) {
      const failure = await failureOf(call());
      assert.equal(failure.cause, cause);
      assert.match(failure.hint!, hint);
    }
    // Answers to HEAD have no body that would name the reason.
    for (const call of [() => storage.create(), () => storage.size('file')]) {
      const failure = await failureOf(call());
      assert.equal(failure.cause, 'refused (403)');
      assert.match(failure.hint!, /^the credentials are wrong, or lack/);
    }
  });
}

test('remove() throws where the server refuses some of the files', async (t) => {
  withEnvironment(t, CREDENTIALS);
  const raw = await startRawServer(t, (socket, request) => {
    const many = `<DeleteResult><Error><Key>p/${OBJECT}</Key><Code>AccessDenied</Code></Error></DeleteResult>`;
    const one = '<Error><Code>AccessDenied</Code></Error>';
    // The body of a request is not taken away: what follows needs a new connection.
    if (request.startsWith('POST')) socket.end(response(many, '200 OK', ['Connection: close']));
    else if (request.startsWith('DELETE')) socket.write(response(one, '403 Forbidden'));
  });
  const storage = storageAt(t, `s3://bucket/p?endpoint=${raw.url}`);
  const failure = await failureOf(storage.remove(['data/ab/gone', OBJECT]));
  assert.equal(failure.message, `Cannot remove s3://bucket/p/${OBJECT}`);
  assert.equal(failure.cause, 'AccessDenied (403)');
  assert.equal(raw.requests.length, 2);
});
