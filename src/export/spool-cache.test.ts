import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { CacheId } from '../client/cache.ts';
import { SpoolCache } from './spool-cache.ts';

const ID = 'id' as CacheId;

function put(cache: SpoolCache, text: string, id = ID): void {
  const writer = cache.create(id, text.length);
  writer.write(Buffer.from(text.slice(0, 2)));
  writer.write(Buffer.from(text.slice(2)));
  writer.commit();
}

function get(cache: SpoolCache, position = 0, length = 100): string | undefined {
  const into = Buffer.alloc(length);
  const count = cache.read(ID, position, length, into, 0);
  return count === undefined ? undefined : into.toString('utf8', 0, count);
}

for (const [where, limit] of [
  ['memory', 100],
  ['a file', 3],
] as const) {
  describe(`SpoolCache, with content in ${where}`, () => {
    test('holds what is wanted, as often as it is wanted', (t) => {
      const folder = scratchFolder(t);
      const cache = new SpoolCache(folder, limit);
      cache.retain(ID);
      cache.retain(ID);
      assert.deepEqual([cache.has(ID), get(cache)], [false, undefined]);
      put(cache, 'content');
      assert.deepEqual([cache.has(ID), get(cache), get(cache, 3, 2)], [true, 'content', 'te']);
      cache.release(ID);
      assert.equal(get(cache), 'content');
      cache.release(ID);
      assert.deepEqual([cache.has(ID), get(cache)], [false, undefined]);
      assert.deepEqual(readdirSync(folder), [], 'files have no names');
    });

    test('shows nothing before it is whole, and nothing that was given up', (t) => {
      const cache = new SpoolCache(scratchFolder(t), limit);
      cache.retain(ID);
      const writer = cache.create(ID, 7);
      writer.write(Buffer.from('con'));
      assert.equal(get(cache), undefined);
      writer.abort();
      assert.equal(get(cache), undefined);
      put(cache, 'content');
      // Harmless after it is whole.
      writer.abort();
      assert.equal(get(cache), 'content');
    });

    test('forgets what comes when nobody wants it any more', (t) => {
      const cache = new SpoolCache(scratchFolder(t), limit);
      put(cache, 'content');
      assert.equal(cache.has(ID), false);
      cache.retain(ID);
      const writer = cache.create(ID, 7);
      cache.release(ID);
      writer.write(Buffer.from('content'));
      writer.commit();
      assert.equal(get(cache), undefined);
      cache.retain(ID);
      put(cache, 'content');
      put(cache, 'content');
      assert.equal(get(cache), 'content', 'also when it comes twice');
      cache.release(ID);
    });
  });
}

test('SpoolCache keeps no metadata', () => {
  const cache = new SpoolCache();
  put(cache, 'catalog');
  assert.equal(cache.load(), undefined);
});

test('SpoolCache says where large objects would have to be', (t) => {
  const cache = new SpoolCache(`${scratchFolder(t)}/nothing`, 3);
  cache.retain(ID);
  assert.throws(() => cache.create(ID, 7), { code: 'STORAGE', hint: /TMPDIR/ });
});
