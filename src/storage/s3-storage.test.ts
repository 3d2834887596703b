import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { testStorage } from '../../test/contract/storage-contract.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { noise } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';

import { type Fate, type S3Proxy, type SeenRequest, startS3Proxy } from '../../test/support/s3-proxy.ts';
import { startS3Server } from '../../test/support/s3-server.ts';
import { allObjects } from '../../test/support/wrapped-storage.ts';
import type { S3Location } from './s3-location.ts';
import { type S3Options, S3Storage } from './s3-storage.ts';

const OBJECT = 'data/ab/cdef';
const MIB = 1024 * 1024;
const options = needs('ceph');
const server = options.skip === false ? await startS3Server(fileScope()) : undefined;

testStorage(
  'an object store',
  (t) => {
    const location = server!.location();
    return () => opened(t, location);
  },
  options,
);

/** Pauses are short: tests do not wait for a server to recover. */
function opened(t: TestContext | Pick<TestContext, 'after'>, location: S3Location, more: S3Options = {}) {
  const storage = new S3Storage(location, { pauseMs: 1, ...more });
  t.after(() => storage.close());
  return storage;
}

/** A storage behind a proxy that decides on each request, of those that are no others' business. */
async function proxied(
  t: TestContext,
  fate: (request: SeenRequest, before: number) => Fate = () => 'pass',
  changes: Partial<S3Location> = {},
): Promise<{ storage: S3Storage; proxy: S3Proxy; location: S3Location }> {
  const location = server!.location(changes);
  const proxy = await startS3Proxy(t, server!.endpoint, fate);
  return { storage: opened(t, { ...location, endpoint: proxy.endpoint }), proxy, location };
}

test('the library for S3 is loaded by the first call, and not before', async () => {
  const program = `
    import { createRequire } from 'node:module';
    import { openStorage } from ${JSON.stringify(new URL('./open-storage.ts', import.meta.url))};
    import { storageLocation } from ${JSON.stringify(new URL('./storage-location.ts', import.meta.url))};
    const isLoaded = () => Object.keys(createRequire(import.meta.url).cache).some((path) => path.includes('@aws-sdk'));
    const storage = openStorage(storageLocation('s3://bucket/p'));
    const before = isLoaded();
    await storage.size('x').catch(() => {});
    console.log(before, isLoaded());`;
  const env = {
    PATH: process.env['PATH'],
    AWS_CONFIG_FILE: '/nonexistent',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  const run = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { env });
  assert.equal(run.stdout, 'false true\n', run.stderr);
});

const methods = ({ requests }: S3Proxy) => requests.map(({ method }) => method);

test('putObject() asks before it sends, and sends nothing that is there', options, async (t) => {
  const { storage, proxy } = await proxied(t);
  await storage.putObject(OBJECT, noise(100));
  await storage.putObject(OBJECT, noise(100));
  assert.deepEqual(methods(proxy), ['HEAD', 'PUT', 'HEAD']);
});

test('putObject() sends one of equal objects that come at a time', options, async (t) => {
  const { storage, proxy } = await proxied(t);
  const isNew = await Promise.all([1, 2, 3].map(() => storage.putObject(OBJECT, noise(100))));
  assert.deepEqual(isNew, [true, false, false]);
  assert.deepEqual(methods(proxy), ['HEAD', 'PUT']);
});

test(
  'files are stored with type and age for caches, and public where the address says so',
  options,
  async (t) => {
    const storage = opened(t, server!.location({ acl: 'public-read', prefix: 'public/tree.example.org' }));
    for (const [path, type, age] of [
      [OBJECT, 'application/octet-stream', 259_200],
      ['data/ab/large', 'application/octet-stream', 259_200],
      ['.cvmfspublished', 'application/x-cvmfs', 61],
      ['.cvmfs_status.json', 'application/json', 61],
      ['other', 'application/octet-stream', 61],
    ] as const) {
      const bytes = noise(path.endsWith('large') ? 17 * MIB : 100);
      await storage.replace(path, bytes);
      const answer = await fetch(`${server!.endpoint}/${server!.bucket}/public/tree.example.org/${path}`);
      assert.equal(answer.status, 200, path);
      assert.equal(answer.headers.get('content-type'), type);
      assert.equal(answer.headers.get('cache-control'), `max-age=${age}`);
      assert.ok(Buffer.from(bytes).equals(Buffer.from(await answer.arrayBuffer())));
    }
  },
);

test('without acl=, strangers may not read', options, async (t) => {
  const location = server!.location();
  await opened(t, location).replace('file', noise(1));
  const answer = await fetch(`${server!.endpoint}/${server!.bucket}/${location.prefix}/file`);
  assert.equal(answer.status, 403);
  await answer.body?.cancel();
});

for (const fate of ['slow-down', 'reset', 'lost', 'torn'] as const) {
  test(`requests that end with "${fate}" are made again, up to eight times`, options, async (t) => {
    // Seven of eight, of each kind of request.
    const counts = new Map<string, number>();
    const { storage } = await proxied(t, ({ method, url }) => {
      const kind = `${method} ${url}`;
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      return counts.get(kind)! % 8 === 0 ? 'pass' : fate;
    });
    await storage.create();
    await storage.replace(OBJECT, noise(100_000));
    assert.equal(await storage.size(OBJECT), 100_000);
    assert.deepEqual(Buffer.from((await storage.read(OBJECT))!), Buffer.from(noise(100_000)));
    assert.equal((await allObjects(storage)).length, 1);
    await storage.remove([OBJECT]);
    assert.equal(await storage.read(OBJECT), undefined);
  });
}

test('a server that stays overloaded ends in an error that says so', options, async (t) => {
  const { storage, proxy } = await proxied(t, () => 'slow-down');
  await assert.rejects(storage.read(OBJECT), (error: Error & { hint?: string }) => {
    assert.equal(error.message, `Cannot read ${storage.name}/${OBJECT}`);
    assert.equal(error.hint, 'the server is overloaded; try again later');
    assert.match(String(error.cause), /SlowDown \(503\)/);
    return true;
  });
  assert.equal(proxy.requests.length, 8);
});

for (const [what, isFailing] of [
  ['a part', ({ url }: SeenRequest) => url.includes('partNumber=2')],
  ['its completion', ({ method, url }: SeenRequest) => method === 'POST' && url.includes('uploadId=')],
] as const) {
  test(
    `a large file whose upload fails at ${what} leaves nothing, neither file nor parts`,
    options,
    async (t) => {
      const { storage, location } = await proxied(t, (request) => (isFailing(request) ? 'refused' : 'pass'));
      await assert.rejects(storage.replace('large', noise(40 * MIB)), {
        code: 'STORAGE',
        message: /^Cannot write /,
      });
      assert.equal(await storage.size('large'), undefined);
      assert.deepEqual(await uploadsBelow(location), []);
    },
  );
}

test('a large file is sent again if the answer to its completion is lost', options, async (t) => {
  let isLost = false;
  const { storage, location } = await proxied(t, ({ method, url }) => {
    if (isLost || method !== 'POST' || !url.includes('uploadId=')) return 'pass';
    isLost = true;
    return 'lost';
  });
  await storage.replace('large', noise(40 * MIB));
  assert.ok(isLost);
  assert.ok(Buffer.from(noise(40 * MIB)).equals((await storage.read('large'))!));
  assert.deepEqual(await uploadsBelow(location), []);
});

async function uploadsBelow({ bucket: Bucket, prefix: Prefix, endpoint }: S3Location): Promise<string[]> {
  const { ListMultipartUploadsCommand, S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({ endpoint: endpoint!, region: 'us-east-1', forcePathStyle: true });
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket, Prefix }));
  client.destroy();
  return Uploads.map(({ Key }) => Key!);
}

test(
  'removeTemporaryFiles() gives up unfinished uploads of this repository, and of no other',
  options,
  async (t) => {
    const { CreateMultipartUploadCommand, S3Client } = await import('@aws-sdk/client-s3');
    const client = new S3Client({ endpoint: server!.endpoint, region: 'us-east-1', forcePathStyle: true });
    const [mine, other] = [server!.location(), server!.location()];
    for (const { prefix } of [mine, other, { prefix: `${mine.prefix}-2` }]) {
      await client.send(
        new CreateMultipartUploadCommand({ Bucket: server!.bucket, Key: `${prefix}/data/ab/cdef` }),
      );
    }
    client.destroy();
    await opened(t, mine).removeTemporaryFiles();
    assert.deepEqual(await uploadsBelow(mine), [`${mine.prefix}-2/data/ab/cdef`]);
    assert.equal((await uploadsBelow(other)).length, 1);
  },
);

test('removeTemporaryFiles() leaves what it cannot remove', options, async (t) => {
  const { storage, proxy } = await proxied(t, () => 'refused');
  await storage.removeTemporaryFiles();
  assert.equal(proxy.requests.length, 1);
});

test('remove() takes a thousand with one request', options, async (t) => {
  const { storage, proxy } = await proxied(t);
  await storage.remove(Array.from({ length: 2500 }, (_, i) => `data/ab/${i}`));
  assert.deepEqual(methods(proxy), ['POST', 'POST', 'POST']);
});

test('remove() removes one by one where a server cannot do more, and asks it once', options, async (t) => {
  const { storage, proxy } = await proxied(t, ({ method }) => (method === 'POST' ? 'refused' : 'pass'));
  await storage.replace(OBJECT, noise(1));
  await storage.remove([OBJECT, 'data/ab/none']);
  await storage.remove([OBJECT, 'data/ab/none']);
  assert.deepEqual(methods(proxy), ['PUT', 'POST', 'DELETE', 'DELETE', 'DELETE', 'DELETE']);
  assert.equal(await storage.size(OBJECT), undefined);
});
