import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { inflateSync } from 'node:zlib';
import { unpackFixture } from '../../test/support/fixtures.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import {
  contentOf,
  objectsOf,
  readManifest,
  STORE_SETTINGS,
  storagePlace,
} from '../../test/support/storage-place.ts';
import { algorithmOf, hashBytes, objectPath } from '../core/content-hash.ts';
import { nodeHashing } from '../node/hashing.ts';
import { ContentStore } from './content-store.ts';

for (const hashAlgorithm of ['sha1', 'rmd160', 'shake128'] as const) {
  for (const compression of ['zlib', 'none'] as const) {
    test(`putFile() stores a file under the ${hashAlgorithm} hash of its ${compression} form`, async (t) => {
      const { folder, storage, file } = storagePlace(t);
      const store = new ContentStore(storage, nodeHashing, { ...STORE_SETTINGS, hashAlgorithm, compression });
      const stored = await store.putFile(file('f', 'hello\n'));
      assert.equal(stored.sizeBytes, 6);
      const bytes = readFileSync(join(folder, objectPath(stored.hash!, '')));
      assert.equal(hashBytes(nodeHashing, hashAlgorithm, bytes), stored.hash);
      assert.deepEqual(compression === 'zlib' ? inflateSync(bytes) : bytes, Buffer.from('hello\n'));
    });
  }
}

test('putContent() names objects as the reference does, where zlib is the same', async (t) => {
  const { storage } = storagePlace(t);
  const store = new ContentStore(storage, nodeHashing, { ...STORE_SETTINGS, hashAlgorithm: 'sha1' });
  assert.equal(
    await store.putContent('', Buffer.from('hello\n')),
    '5798f7f4ca7585d850eea64610a1f73d8f8de7a3',
  );
  assert.equal(await store.putContent('', Buffer.alloc(0)), 'e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78');
});

test('putMetadata() is zlib also where files are not compressed', async (t) => {
  const { folder, storage } = storagePlace(t);
  const store = new ContentStore(storage, nodeHashing, { ...STORE_SETTINGS, compression: 'none' });
  const hash = await store.putMetadata('C', Buffer.from('catalog'));
  assert.equal(String(inflateSync(readFileSync(join(folder, objectPath(hash, 'C'))))), 'catalog');
});

for (const name of ['basic', 'shake128']) {
  test(`putAsReference() makes of certificate and metainfo what the reference made of those of ${name}`, async (t) => {
    const golden = unpackFixture(name, scratchFolder(t));
    const { certificate, metainfo } = readManifest(golden);
    const { storage } = storagePlace(t);
    const store = new ContentStore(storage, nodeHashing, {
      ...STORE_SETTINGS,
      hashAlgorithm: algorithmOf(certificate!),
    });
    for (const [hash, type] of [
      [certificate!, 'X'],
      [metainfo!, 'M'],
    ] as const) {
      const bytes = inflateSync(readFileSync(join(golden, objectPath(hash, type))));
      assert.equal(await store.putAsReference(type, bytes), hash);
    }
  });
}

test('the same content is stored once, and counted as new once; a chunk is another object than a file', async (t) => {
  const { folder, storage, file } = storagePlace(t);
  const store = new ContentStore(storage, nodeHashing, STORE_SETTINGS);
  const hash = await store.putContent('', Buffer.from('same'));
  assert.equal((await store.putFile(file('f', 'same'))).hash, hash);
  assert.equal(await store.putContent('P', Buffer.from('same')), hash);
  assert.deepEqual(objectsOf(folder), [objectPath(hash, ''), objectPath(hash, 'P')]);
  const { size } = statSync(join(folder, objectPath(hash, '')));
  assert.deepEqual(store.counters, { objects: 3, newObjects: 2, newBytes: 2 * size, readBytes: 4 });
});

for (const { code, what, make } of [
  { code: 'NOT_FOUND', what: 'a file that is gone', make: (path: string) => path },
  {
    code: 'NOT_FOUND',
    what: 'a symlink in the place of the file',
    make: (path: string) => symlinkSync('/etc/passwd', path),
  },
  { code: 'STORAGE', what: 'a folder in the place of the file', make: (path: string) => mkdirSync(path) },
]) {
  test(`putFile() of ${what} fails with ${code} and the name`, async (t) => {
    const { storage } = storagePlace(t);
    const path = join(scratchFolder(t), 'näme');
    make(path);
    const store = new ContentStore(storage, nodeHashing, STORE_SETTINGS);
    await assert.rejects(store.putFile(Buffer.from(path)), { code, message: `Cannot read ${path}` });
  });
}

test('putFile() reads files that say they are empty, and are not', async (t) => {
  const { folder, storage } = storagePlace(t);
  const store = new ContentStore(storage, nodeHashing, STORE_SETTINGS);
  const stored = await store.putFile(Buffer.from('/proc/cmdline'));
  assert.deepEqual(contentOf(folder, stored), readFileSync('/proc/cmdline'));
  assert.ok(stored.sizeBytes > 0);
});
