import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  changedSource,
  faultsOf,
  nestedTree,
  objectsIn,
  readManifestOf,
  replicableRepository,
  replicate,
} from '../../test/support/replica.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { FolderStorage } from '../storage/folder-storage.ts';
import { INCOMPLETE_CATALOGS_PATH, IncompleteCatalogs } from './incomplete-catalogs.ts';
import { parsePathFilter } from './path-filter.ts';
import { PARTIAL_PATH } from './replicator.ts';

async function setUp(t: TestContext) {
  const original = await replicableRepository(t);
  return { original, folder: `${original.storage}.replica` };
}

/** Mount points of the catalogs below a root that are in a storage folder. */
function catalogsIn(folder: string, root: ContentHash = readManifestOf(folder).rootCatalog): string[] {
  const path = join(folder, objectPath(root, 'C'));
  if (!existsSync(path)) return [];
  const { nested, rootPrefix } = CatalogReader.open(nodeInflating.inflate(readFileSync(path), 1e9));
  return [rootPrefix as string, ...nested.flatMap(({ hash }) => catalogsIn(folder, hash))].sort();
}

const incomplete = (folder: string) =>
  readFileSync(join(folder, INCOMPLETE_CATALOGS_PATH), 'utf8').split('\n');
const filter = (...specifications: string[]) => parsePathFilter(specifications);

test('a partial replica has the catalogs that are wanted with all their files, and those on the way', async (t) => {
  const { original, folder } = await setUp(t);
  const report = await replicate(original, folder, { filter: filter('/a/b', '!/a/b/c') });
  assert.equal(report.isPartial, true);
  assert.deepEqual(catalogsIn(folder), ['', '/a', '/a/b']);
  assert.equal(readFileSync(join(folder, PARTIAL_PATH), 'utf8'), 'version 1\n/a/b\n!/a/b/c\n');
  // Nothing but the catalogs of /a/b/c and /d.
  assert.equal(faultsOf(folder).length, 2);
  assert.ok(faultsOf(folder).every((fault) => fault.endsWith('C')));
});

test('a partial replica follows its source, and asks for nothing twice', async (t) => {
  const { original, folder } = await setUp(t);
  const wanted = { filter: filter('/a/b') };
  await replicate(original, folder, wanted);
  assert.deepEqual(catalogsIn(folder), ['', '/a', '/a/b', '/a/b/c']);
  const source = changedSource(original.storage);
  const again = await replicate(original, folder, { ...wanted, sources: [source] });
  assert.equal(again.objects, 0);
  await original.publish(nestedTree('two'));
  const report = await replicate(original, folder, wanted);
  assert.deepEqual(catalogsIn(folder), ['', '/a', '/a/b', '/a/b/c']);
  assert.deepEqual([report.catalogs, report.revision], [4, 2]);
});

test('a catalog is known to be incomplete before it is there, and only if something below it is not wanted', async (t) => {
  const { original, folder } = await setUp(t);
  const seen: string[] = [];
  class Watched extends FolderStorage {
    override async putObject(path: string, bytes: Uint8Array): Promise<boolean> {
      if (path.endsWith('C')) {
        const file = join(folder, INCOMPLETE_CATALOGS_PATH);
        const isListed = existsSync(file) && readFileSync(file, 'utf8').includes(path.slice(8, -1));
        const { rootPrefix } = CatalogReader.open(nodeInflating.inflate(bytes, 1e9));
        seen.push(`${rootPrefix} ${isListed}`);
      }
      return super.putObject(path, bytes);
    }
  }
  await replicate(original, folder, { filter: filter('/a/b'), storage: new Watched(folder) });
  assert.deepEqual(seen, ['/a/b/c false', '/a/b false', '/a false', ' true']);
});

test('a full run completes a partial replica, and fetches only what it lacked', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder, { filter: filter('/a', '!/a/b/c') });
  const had = new Set(objectsIn(folder));
  const source = changedSource(original.storage);
  const report = await replicate(original, folder, { sources: [source] });
  assert.deepEqual(faultsOf(folder), []);
  assert.ok(!existsSync(join(folder, PARTIAL_PATH)) && !existsSync(join(folder, INCOMPLETE_CATALOGS_PATH)));
  assert.equal(report.isPartial, false);
  const certificate = objectPath(original.manifest().certificate!, 'X');
  assert.deepEqual(
    source.asked.filter((path) => had.has(path) && path !== certificate),
    [],
  );
  await replicate(original, `${folder}.full`);
  assert.deepEqual(objectsIn(folder), objectsIn(`${folder}.full`));
});

test('a full run that fails does not believe the next time that it was complete', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder, { filter: filter('/a') });
  const broken = changedSource(original.storage, (path, open) => {
    if (path.endsWith('C')) throw new ThimbleError('NETWORK', 'scripted');
    return open();
  });
  await assert.rejects(replicate(original, folder, { sources: [broken] }), { code: 'NETWORK' });
  assert.ok(existsSync(join(folder, PARTIAL_PATH)));
  await replicate(original, folder);
  assert.deepEqual(faultsOf(folder), []);
});

test('older revisions that came in part are completed too when they are asked for', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder, { filter: filter('/d') });
  await original.publish(nestedTree('two'));
  await replicate(original, folder);
  // The root of revision 1 is there, and still lacks /a.
  assert.equal(incomplete(folder).length, 2);
  assert.equal(faultsOf(folder).length, 1);
  await replicate(original, folder, { withTags: true });
  assert.deepEqual(faultsOf(folder), []);
  assert.ok(!existsSync(join(folder, INCOMPLETE_CATALOGS_PATH)));
});

test('another choice brings what it wants besides what is there', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder, { filter: filter('/d') });
  await replicate(original, folder, { filter: filter('/a', '!/a/b') });
  assert.deepEqual(catalogsIn(folder), ['', '/a', '/d']);
  await replicate(original, folder, { filter: filter('/d') });
  await replicate(original, folder, { filter: filter('/*') });
  assert.deepEqual(faultsOf(folder), []);
});

test('a replica that was whole stays complete where it is when only a part is followed', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder);
  await replicate(original, folder, { filter: filter('/d') });
  assert.ok(existsSync(join(folder, PARTIAL_PATH)));
  assert.deepEqual(faultsOf(folder), []);
  await original.publish(nestedTree('two'));
  await replicate(original, folder, { filter: filter('/d') });
  assert.deepEqual(catalogsIn(folder), ['', '/d']);
  await replicate(original, folder);
  assert.deepEqual(faultsOf(folder), []);
});

test('a list of incomplete catalogs that is damaged is no empty list', async (t) => {
  const { original, folder } = await setUp(t);
  await replicate(original, folder, { filter: filter('/d') });
  const storage = new FolderStorage(folder);
  for (const text of ['?\n', `${'0'.repeat(40)}\n`, `${'0'.repeat(40)} x\n`, '\n']) {
    writeFileSync(join(folder, INCOMPLETE_CATALOGS_PATH), text);
    await assert.rejects(IncompleteCatalogs.open(storage, undefined, nodeHashing), {
      code: 'FORMAT',
      hint: /anew in an empty folder/,
    });
  }
});
