import assert from 'node:assert/strict';
import { closeSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { cacheIdOf } from '../client/cache.ts';
import type { StoredChunk } from '../client/stored-file.ts';
import { parseContentHash } from '../core/content-hash.ts';
import { silentLog } from '../core/ports.ts';
import { FolderCache } from './cache/folder-cache.ts';
import { bytesOf, WholeFiles, wholeIdOf } from './whole-files.ts';

/** A file of pieces of these sizes; those of `cached` are in the cache. */
function fileOf(t: TestContext, sizes: readonly number[], limitBytes = 1e9) {
  const cache = FolderCache.open(scratchFolder(t), { limitBytes });
  t.after(() => cache.close());
  let offset = 0;
  const chunks = sizes.map((sizeBytes, i): StoredChunk => {
    const hash = parseContentHash(`${i + 1}`.repeat(40));
    const need = { kind: 'object', hash, type: 'P', compression: 'zlib', sizeBytes } as const;
    const chunk = { offset, sizeBytes, hash, need };
    offset += sizeBytes;
    return chunk;
  });
  const put = (i: number) => {
    const writer = cache.create(cacheIdOf(chunks[i]!.hash, 'zlib'), sizes[i]!);
    writer.write(new Uint8Array(sizes[i]!).fill(i + 1));
    writer.commit();
  };
  for (const i of chunks.keys()) put(i);
  return { cache, chunks, put };
}

async function madeOf(cache: FolderCache, chunks: readonly StoredChunk[]): Promise<Buffer | undefined> {
  const files = new WholeFiles(cache, silentLog);
  await files.make(chunks);
  const fd = cache.openContent(wholeIdOf(chunks), bytesOf(chunks));
  if (fd === undefined) return undefined;
  const content = readFileSync(fd);
  closeSync(fd);
  return content;
}

test('pieces that are here become one file', async (t) => {
  const { cache, chunks } = fileOf(t, [3, 2_500_000, 5]);
  const whole = Buffer.concat([Buffer.alloc(3, 1), Buffer.alloc(2_500_000, 2), Buffer.alloc(5, 3)]);
  assert.deepEqual(await madeOf(cache, chunks), whole);
  assert.deepEqual(await madeOf(cache, chunks), whole);
});

test('a single piece is the file', (t) => {
  const { chunks } = fileOf(t, [10]);
  assert.equal(wholeIdOf(chunks), cacheIdOf(chunks[0]!.hash, 'zlib'));
});

test('nothing is made of pieces that are not all here, and nothing is left of it', async (t) => {
  const { cache, chunks, put } = fileOf(t, [200_000, 200_000]);
  cache.discard(cacheIdOf(chunks[1]!.hash, 'zlib'));
  assert.equal(await madeOf(cache, chunks), undefined);
  assert.equal(cache.usedBytes, 200_000);
  put(1);
  assert.equal((await madeOf(cache, chunks))?.length, 400_000);
});

test('a file that is too large for the cache stays in pieces', async (t) => {
  const { cache, chunks } = fileOf(t, [200_000, 200_000], 500_000);
  assert.equal(await madeOf(cache, chunks), undefined);
  assert.equal(cache.usedBytes, 400_000);
});
