import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { catalogFile, entry, keyOf, withEntries } from '../../test/support/catalog-file.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { CatalogOpener, CatalogShelf } from './catalog-files.ts';

/** More than are ever awake. */
const MANY = 300;
const BYTES = catalogFile(withEntries(entry(''), entry('/a', { size: 7 })));
const ROOT = '' as ByteString;
const hashOf = (i: number) => i.toString(16).padStart(40, '0') as ContentHash;

function openFilesBelow(folder: string): number {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // Closed meanwhile, such as that of this very listing.
      return '';
    }
  });
  return targets.filter((target) => target.startsWith(folder)).length;
}

test('of very many catalogs few are open, and all of them answer', (t) => {
  const folder = scratchFolder(t);
  const opener = new CatalogOpener();
  const readers = Array.from({ length: MANY }, (_, i) => {
    writeFileSync(join(folder, String(i)), BYTES);
    return opener.open(join(folder, String(i)));
  });
  for (const reader of readers) assert.ok(reader.find(keyOf('/a')) && reader.row.sizeBytes === 7);
  assert.ok(openFilesBelow(folder) < MANY);
  for (const reader of readers) reader.rest();
  assert.equal(openFilesBelow(folder), 0);
});

test('a descriptor that is another file by now is not read from', (t) => {
  const folder = scratchFolder(t);
  for (const name of ['one', 'other']) writeFileSync(join(folder, name), BYTES);
  const fd = openSync(join(folder, 'one'), 'r');
  const reader = new CatalogOpener().open(`/proc/self/fd/${fd}`);
  reader.rest();
  assert.ok(reader.find(keyOf('/a')));
  reader.rest();
  closeSync(fd);
  assert.equal(openSync(join(folder, 'other'), 'r'), fd);
  t.after(() => closeSync(fd));
  assert.throws(
    () => {
      // Pages that are still in memory are good.
      for (let rowid = 1; rowid < 10; rowid++) reader.seek(rowid);
      reader.counters();
    },
    { code: 'STORAGE' },
  );
});

test('catalogs are in memory as long as there is room, then files of the cache, which is asked to write them', (t) => {
  const folder = scratchFolder(t);
  const shelf = new CatalogShelf({ folder, lowerFolders: [] });
  const large = new Uint8Array(6 * 1024 * 1024);
  large.set(BYTES);
  const write = (i: number) => () => {
    mkdirSync(join(folder, 'objects', '00'), { recursive: true });
    writeFileSync(join(folder, 'objects', '00', hashOf(i).slice(2)), large);
  };
  const put = (i: number, flush: () => void) =>
    shelf.put({ mountpoint: ROOT, hash: hashOf(i), bytes: large }, flush).shared.content;
  assert.ok(put(1, () => assert.fail('there is room')) instanceof Uint8Array);
  assert.match(String(put(2, write(2))), /^\/proc\/self\/fd\/\d+$/);
  assert.ok(put(3, () => {}) instanceof Uint8Array, 'the cache could not take it');
  assert.equal(shelf.find({ mountpoint: ROOT, hash: hashOf(4) }), undefined);
  write(4)();
  assert.ok(shelf.find({ mountpoint: ROOT, hash: hashOf(4) })?.reader.find(keyOf('/a')));
});
