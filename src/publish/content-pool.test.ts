import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { noise } from '../../test/support/memory-tree.ts';
import {
  contentOf,
  objectsOf,
  STORE_SETTINGS,
  type StoragePlace,
  storagePlace,
} from '../../test/support/storage-place.ts';
import type { TreeContent } from '../core/tree.ts';
import { nodeHashing } from '../node/hashing.ts';
import { ContentPool } from './content-pool.ts';
import { ContentStore } from './content-store.ts';

async function* inPieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

const asStream = (bytes: Uint8Array, sizes: readonly number[] = [bytes.length]): TreeContent => ({
  kind: 'stream',
  sizeBytes: bytes.length,
  chunks: inPieces(bytes, sizes),
});

async function pool(
  t: TestContext,
  { storage }: StoragePlace,
  settings = STORE_SETTINGS,
  threads = 2,
): Promise<ContentPool> {
  const made = new ContentPool(storage.location, settings, threads);
  t.after(() => made.close());
  return made;
}

test('a file and a stream of the same content are cut and stored in the same way, in whatever pieces the stream arrives', async (t) => {
  const here = storagePlace(t);
  const workers = await pool(t, here);
  const store = new ContentStore(here.storage, nodeHashing, STORE_SETTINGS);
  let counter = 0;
  await fc.assert(
    fc.asyncProperty(
      // Around the sizes where something changes, and anywhere between.
      fc.oneof(
        fc.constantFrom(0, 1, 1023, 1024, 1025, 4095, 4096, 16383, 16384, 16385, 32768),
        fc.integer({ min: 0, max: 60_000 }),
      ),
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 5 }),
      async (length, seed, sizes) => {
        const bytes = seed === 5 ? new Uint8Array(length) : noise(length, seed);
        const expected = await store.putFile(here.file(`f${counter++}`, bytes));
        const { stored } = await workers.add(asStream(bytes, sizes));
        await workers.drain();
        assert.deepEqual(await stored, expected);
        assert.equal(expected.sizeBytes, length);
        assert.ok(contentOf(here.folder, expected).equals(bytes));
        assert.notEqual(expected.chunks.length, 1, 'one chunk is a whole file');
        assert.equal(
          expected.chunks.reduce(
            (offset, chunk) => (chunk.offset === offset ? offset + chunk.sizeBytes : -1),
            0,
          ),
          expected.hash === undefined ? length : 0,
        );
      },
    ),
    { numRuns: 60 },
  );
});

test('the pool stores files of any number and size; results come for each', async (t) => {
  const here = storagePlace(t);
  const workers = await pool(t, here);
  const contents = Array.from({ length: 400 }, (_, i) => noise((i * 37) % 9000, i + 1));
  const added = [];
  for (const [i, bytes] of contents.entries()) {
    const hostPath = here.file(`f${i}`, bytes).toString('latin1') as never;
    added.push(await workers.add({ kind: 'file', hostPath, sizeBytes: bytes.length }));
  }
  await workers.drain();
  for (const [i, { stored }] of added.entries()) {
    assert.ok(contentOf(here.folder, await stored).equals(contents[i]!));
  }
  const { objects, readBytes } = workers.counters();
  assert.equal(
    readBytes,
    contents.reduce((sum, { length }) => sum + length, 0),
  );
  assert.ok(objects >= 400);
});

test('the pool cuts a very large file as a small one is cut', async (t) => {
  const here = storagePlace(t);
  const sizes = { minBytes: 4 << 20, averageBytes: 8 << 20, maxBytes: 16 << 20 };
  const settings = { ...STORE_SETTINGS, compression: 'none' as const, chunkSizes: sizes };
  const workers = await pool(t, here, settings);
  // Mostly zeros, and larger than what one worker gets.
  const bytes = Buffer.alloc(65 << 20);
  for (let at = 0; at < bytes.length; at += 1 << 20) bytes.set(noise(4096, at + 1), at);
  const hostPath = here.file('large', bytes);
  const { stored } = await workers.add({
    kind: 'file',
    hostPath: hostPath.toString('latin1') as never,
    sizeBytes: bytes.length,
  });
  await workers.drain();
  const actual = await stored;
  assert.deepEqual(actual, await new ContentStore(here.storage, nodeHashing, settings).putFile(hostPath));
  assert.ok(contentOf(here.folder, actual, 'none').equals(bytes));
});

test('a failure in a worker ends everything: each result, drain(), and what is added later', async (t) => {
  const here = storagePlace(t);
  const workers = await pool(t, here);
  const gone = { kind: 'file', hostPath: '/nonexistent/\xff' as never, sizeBytes: 1 } as const;
  const failure = {
    code: 'NOT_FOUND',
    message: /^Cannot read \/nonexistent\/\\xff: ENOENT/,
    hint: /vanished/,
  };
  const { stored } = await workers.add(gone);
  const { stored: other } = await workers.add({
    kind: 'file',
    hostPath: here.file('f', 'x').toString('latin1') as never,
    sizeBytes: 1,
  });
  await assert.rejects(workers.drain(), failure);
  await assert.rejects(stored, failure);
  await assert.rejects(other, failure);
  await assert.rejects(workers.add(gone), failure);
  await assert.rejects(workers.drain(), failure);
});

test('a failure of the storage reaches whoever waits', async (t) => {
  const here = storagePlace(t);
  // No objects can be made below a file.
  const workers = new ContentPool(
    { kind: 'folder', path: here.file('file', '').toString() },
    STORE_SETTINGS,
    1,
  );
  t.after(() => workers.close());
  const { stored } = await workers.add(asStream(Buffer.from('x')));
  await assert.rejects(stored, { code: 'STORAGE', message: /^Cannot write .*ENOTDIR/ });
});

test('a failure of the stream reaches whoever adds it, and nothing is stored of the rest', async (t) => {
  const here = storagePlace(t);
  const workers = await pool(t, here);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('begin');
    throw new Error('the stream broke');
  }
  await assert.rejects(workers.add({ kind: 'stream', sizeBytes: 100, chunks: broken() }), /the stream broke/);
  await workers.drain();
  assert.deepEqual(objectsOf(here.folder), []);
});

test('a very large file that is gone fails with its name', async (t) => {
  const here = storagePlace(t);
  const workers = await pool(t, here);
  const gone = { kind: 'file', hostPath: '/nonexistent' as never, sizeBytes: 65 << 20 } as const;
  await assert.rejects(workers.add(gone), { code: 'NOT_FOUND', message: 'Cannot read /nonexistent' });
});
