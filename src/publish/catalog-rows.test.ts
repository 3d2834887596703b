import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { contentsOf, HASH, inTwo, OTHER, ROOT, whole } from '../../test/support/catalog-contents.ts';
import { entry } from '../../test/support/memory-tree.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import { messageOf, type ThimbleError } from '../core/errors.ts';
import type { TreeEntry } from '../core/tree.ts';
import { hasContents } from './catalog-rows.ts';
import { encodeCatalog } from './catalog-writer.ts';
import type { StoredContent } from './content-store.ts';

test('an attribute that does not fit is refused with the path of its file', () => {
  const one = entry('/a/x', { content: 'x', xattrs: { 'user.long': 'v'.repeat(256) } });
  assert.throws(
    () => contentsOf([one]),
    (error: ThimbleError) =>
      error.code === 'LIMIT' && /^Cannot publish \/a\/x: .*user\.long/.test(messageOf(error)),
  );
});

test('hasContents() recognises a catalog by what is in it, whatever its revision', (t) => {
  const entries = [
    entry('/a', { content: 'x' }),
    entry('/b', { symlink: 'a' }),
    entry('/n'),
    entry('/n/.cvmfscatalog', { content: '' }),
  ];
  const contents = contentsOf(entries).get('')!;
  const reader = CatalogReader.open(encodeCatalog(contents, ROOT, join(scratchFolder(t), 'temporary')));
  assert.equal(hasContents(reader, contents), true);
});

const BASE = {
  content: 'x',
  xattrs: { 'user.a': '1' },
  mode: 0o100644,
  uid: 1,
  gid: 1,
  mtimeSeconds: 5,
  mtimeNs: 6,
};
for (const { what, changed, content } of [
  { what: 'another mode', changed: [entry('/a', { ...BASE, mode: 0o100600 })] },
  { what: 'another owner', changed: [entry('/a', { ...BASE, uid: 2 })] },
  { what: 'another group', changed: [entry('/a', { ...BASE, gid: 2 })] },
  { what: 'another second', changed: [entry('/a', { ...BASE, mtimeSeconds: 6 })] },
  { what: 'another nanosecond', changed: [entry('/a', { ...BASE, mtimeNs: 7 })] },
  { what: 'another attribute', changed: [entry('/a', { ...BASE, xattrs: { 'user.a': '2' } })] },
  { what: 'no attribute', changed: [entry('/a', { ...BASE, xattrs: {} })] },
  { what: 'another content', changed: [entry('/a', BASE)], content: { '/a': { ...whole(1), hash: OTHER } } },
  { what: 'chunks', changed: [entry('/a', BASE)], content: { '/a': inTwo } },
  { what: 'one entry less', changed: [] },
  { what: 'one entry more', changed: [entry('/a', BASE), entry('/b')] },
  { what: 'another name', changed: [entry('/c', BASE)] },
  { what: 'another type', changed: [entry('/a', { symlink: 'x', mtimeSeconds: 5, mtimeNs: 6 })] },
  {
    what: 'a nested catalog',
    changed: [entry('/a', BASE), entry('/n'), entry('/n/.cvmfscatalog', { content: '' })],
  },
] as { what: string; changed: TreeEntry[]; content?: Record<string, StoredContent> }[]) {
  test(`hasContents() sees ${what}`, (t) => {
    const stored = contentsOf([entry('/a', BASE)]).get('')!;
    const reader = CatalogReader.open(encodeCatalog(stored, ROOT, join(scratchFolder(t), 'temporary')));
    assert.equal(hasContents(reader, stored), true);
    assert.equal(hasContents(reader, contentsOf(changed, content).get('')!), false);
  });
}

test('hasContents() sees other chunks of the same file, and another revision of a nested catalog', (t) => {
  const temporary = join(scratchFolder(t), 'temporary');
  const entries = [entry('/a', { content: 'x' }), entry('/n'), entry('/n/.cvmfscatalog', { content: '' })];
  const contents = contentsOf(entries, { '/a': inTwo }).get('')!;
  const reader = CatalogReader.open(encodeCatalog(contents, ROOT, temporary));
  assert.equal(hasContents(reader, contents), true);
  const otherCuts = {
    ...inTwo,
    chunks: [
      { ...inTwo.chunks[0]!, sizeBytes: 1000 },
      { ...inTwo.chunks[1]!, offset: 1000, sizeBytes: 2000 },
    ],
  };
  assert.equal(hasContents(reader, contentsOf(entries, { '/a': otherCuts }).get('')!), false);
  const nested = contents.nested.map((one) => ({ ...one, hash: HASH }));
  assert.equal(hasContents(reader, { ...contents, nested }), false);
});
