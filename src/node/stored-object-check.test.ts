import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { noise } from '../../test/support/memory-tree.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { CheckedObject } from '../client/check-objects.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { Compression } from '../core/catalog/flags.ts';
import { type HashAlgorithm, hashBytes, objectPath } from '../core/content-hash.ts';
import { nodeHashing } from './hashing.ts';
import { StoredObjectCheck } from './stored-object-check.ts';

interface Stored {
  readonly algorithm?: HashAlgorithm;
  readonly compression?: Compression;
  /** What is in the file instead. */
  readonly bytes?: Uint8Array;
}

function store(folder: string, content: Uint8Array, options: Stored = {}): CheckedObject {
  const { algorithm = 'sha1', compression = 'zlib', bytes } = options;
  const stored = compression === 'zlib' ? deflateSync(content) : content;
  const hash = hashBytes(nodeHashing, algorithm, stored);
  const file = join(folder, objectPath(hash, 'P'));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes ?? stored);
  return { hash, type: 'P', compression, sizeBytes: content.length, path: '/x' as ByteString };
}

const CONTENTS = [0, 1, 5000, 3_000_000].map((length) => noise(length));

for (const algorithm of ['sha1', 'rmd160', 'shake128'] as const) {
  for (const compression of ['zlib', 'none'] as const) {
    test(`StoredObjectCheck finds objects with ${algorithm} and ${compression} sound, of any length`, (t) => {
      const folder = scratchFolder(t);
      const check = new StoredObjectCheck(folder);
      for (const content of CONTENTS) {
        const object = store(folder, content, { algorithm, compression });
        const stored = compression === 'none' ? content.length : deflateSync(content).length;
        assert.equal(check.check(object), stored);
        assert.equal(check.check({ ...object, sizeBytes: undefined }), stored);
      }
    });
  }
}

const CONTENT = noise(5000);
const STORED = deflateSync(CONTENT);

for (const [what, bytes, code] of [
  ['a byte changed', STORED.with(100, STORED[100]! ^ 1), 'INTEGRITY'],
  ['its end cut off', STORED.subarray(0, -1), 'INTEGRITY'],
  ['something behind it', Buffer.concat([STORED, Buffer.alloc(1)]), 'INTEGRITY'],
  ['very much behind it', Buffer.concat([STORED, Buffer.alloc(2_000_000)]), 'INTEGRITY'],
  ['nothing in it', Buffer.alloc(0), 'INTEGRITY'],
] as const) {
  test(`StoredObjectCheck finds ${what}`, (t) => {
    const folder = scratchFolder(t);
    const object = store(folder, CONTENT, { bytes });
    const check = new StoredObjectCheck(folder);
    assert.throws(() => check.check(object), { name: 'ThimbleError', code });
    assert.throws(() => check.check({ ...object, sizeBytes: undefined }), { name: 'ThimbleError', code });
  });
}

for (const [what, sizeBytes, code] of [
  ['less', 4999, 'LIMIT'],
  ['more', 5001, 'INTEGRITY'],
  ['far less', 100, 'INTEGRITY'],
] as const) {
  test(`StoredObjectCheck finds that the catalog says ${what} than there is: ${code}`, (t) => {
    const folder = scratchFolder(t);
    const object = store(folder, CONTENT);
    assert.throws(() => new StoredObjectCheck(folder).check({ ...object, sizeBytes }), { code });
  });
}

test('StoredObjectCheck finds content that is no zlib stream', (t) => {
  const folder = scratchFolder(t);
  const object = store(folder, CONTENT, { compression: 'none' });
  assert.throws(() => new StoredObjectCheck(folder).check({ ...object, compression: 'zlib' }), {
    code: 'FORMAT',
  });
});

test('StoredObjectCheck says what is missing, and what cannot be read, and goes on', (t) => {
  const folder = scratchFolder(t);
  const check = new StoredObjectCheck(folder);
  const sound = store(folder, CONTENT);
  const at = (n: number) => ({ ...sound, hash: hashBytes(nodeHashing, 'sha1', Uint8Array.of(n)) });
  assert.throws(() => check.check(at(1)), { code: 'NOT_FOUND' });
  mkdirSync(join(folder, objectPath(at(2).hash, 'P')), { recursive: true });
  assert.throws(() => check.check(at(2)), { code: 'STORAGE', message: /EISDIR/ });
  const loop = join(folder, objectPath(at(3).hash, 'P'));
  mkdirSync(dirname(loop), { recursive: true });
  symlinkSync(loop, loop);
  assert.throws(() => check.check(at(3)), { code: 'STORAGE', message: /ELOOP/ });
  assert.equal(check.check(sound), STORED.length);
});
