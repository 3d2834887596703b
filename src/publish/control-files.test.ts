/** What files of the tree tell the publisher: grafts and `.cvmfsdirtab`. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertSound } from '../../test/support/garbage.ts';
import { entry, memoryTree } from '../../test/support/memory-tree.ts';
import { publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { openObject } from '../../test/support/storage-place.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import type { TreeEntry } from '../core/tree.ts';
import { parseDirtab } from './dirtab.ts';
import { parseGraft } from './graft.ts';

const A = 'ab'.repeat(20);
const B = `${'cd'.repeat(20)}-shake128`;

// ---- grafts ----

test('a graft is the content of the file beside it, and is not published itself', async (t) => {
  const repository = await publisherRepository(memoryScratch(t), { hashAlgorithm: 'sha1' });
  const graft = `size=1234\nchecksum=${A}\n`;
  const tree = memoryTree([
    entry('/.cvmfsgraft-big', { content: graft }),
    entry('/big', { content: '', mode: 0o100755 }),
    entry('/zero', { content: '' }),
    // After its file, as archives may have it.
    entry('/.cvmfsgraft-zero', {
      content: `size=30\nchunk_offsets=0,10\nchunk_checksums=${B},${B}\ncompression=zlib`,
    }),
  ]);
  const { rootCatalog } = await repository.publish(tree);
  const database = openObject(repository.storage, rootCatalog, 'C', memoryScratch(t));
  const rows = database
    .prepare('SELECT name, hex(hash) AS hash, size, flags, mode FROM catalog ORDER BY name')
    .all();
  const chunks = database.prepare('SELECT offset, size FROM chunks ORDER BY offset').all();
  database.close();
  assert.deepEqual(
    rows.slice(1).map((row) => ({ ...row })),
    [
      { name: 'big', hash: A.toUpperCase(), size: 1234, flags: 4 | 0x800, mode: 0o100755 },
      { name: 'zero', hash: '', size: 30, flags: 4 | 64 | 0x200, mode: 0o100644 },
    ],
  );
  assert.deepEqual(
    chunks.map((row) => ({ ...row })),
    [
      { offset: 0, size: 10 },
      { offset: 10, size: 20 },
    ],
  );
  assert.equal((await repository.publish(tree)).changed, false);
});

test('a graft without a file beside it is refused, and so is one that is a hard link', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  const content = `size=1\nchecksum=${A}`;
  await assert.rejects(repository.publish(memoryTree([entry('/.cvmfsgraft-x', { content })])), {
    code: 'FORMAT',
    message: 'Cannot graft /x: there is no file of this name',
  });
  const linked = [
    entry('/a', { content, linkKey: 'a' }),
    entry('/.cvmfsgraft-x', { mode: 0o100644, linkKey: 'a' }),
    entry('/x', { content: '' }),
  ];
  await assert.rejects(repository.publish(memoryTree(linked)), { code: 'FORMAT', message: /hard link/ });
  const large = {
    ...entry('/.cvmfsgraft-x', { content }),
    content: { kind: 'stream', sizeBytes: 2 ** 30, chunks: empty() },
  };
  await assert.rejects(repository.publish(memoryTree([large as TreeEntry])), { code: 'LIMIT' });
});

async function* empty(): AsyncGenerator<Uint8Array> {}

test('parseGraft() takes comments, spaces and the default compression', () => {
  assert.deepEqual(
    parseGraft(`# made by hand\n\n  size=5\nchecksum=${B}\ncompression=default\n` as ByteString),
    {
      sizeBytes: 5,
      hash: B,
      chunks: [],
      compression: 'zlib',
      isExternal: false,
    },
  );
});

for (const [what, text] of [
  ['no size', `checksum=${A}`],
  ['a size that is no number', `size=1e3\nchecksum=${A}`],
  ['a size beyond what is exact', `size=9999999999999999\nchecksum=${A}`],
  ['no checksum', 'size=1'],
  ['a checksum that is none', 'size=1\nchecksum=abc'],
  ['an unknown compression', `size=1\nchecksum=${A}\ncompression=lz4`],
  ['a line without a value', `size=1\nchecksum=${A}\nwhat`],
  ['more offsets than checksums', `size=2\nchunk_offsets=0,1\nchunk_checksums=${A}`],
  ['chunks that do not begin at 0', `size=2\nchunk_offsets=1\nchunk_checksums=${A}`],
  ['chunks out of order', `size=9\nchunk_offsets=0,5,3\nchunk_checksums=${A},${A},${A}`],
  ['a chunk at the end of the file', `size=5\nchunk_offsets=0,5\nchunk_checksums=${A},${A}`],
  ['chunks of two algorithms', `size=5\nchunk_offsets=0,2\nchunk_checksums=${A},${B}`],
] as const) {
  test(`parseGraft() refuses ${what}`, () => {
    assert.throws(() => parseGraft(text as ByteString), { code: 'FORMAT' });
  });
}

// ---- .cvmfsdirtab ----

const SOFTWARE = ['/software/a/1', '/software/a/2', '/software/b/1', '/other/x'].flatMap((path) => [
  entry(path),
  entry(`${path}/file`, { content: path }),
]);
const dirtab = (content: string) => entry('/.cvmfsdirtab', { content });

async function catalogsOf(repository: Awaited<ReturnType<typeof publisherRepository>>): Promise<string[]> {
  const paths = [...(await repository.read()).keys()];
  return paths
    .filter((path) => path.endsWith('/.cvmfscatalog'))
    .map((path) => path.slice(0, -'/.cvmfscatalog'.length));
}

test('.cvmfsdirtab gives the directories that it names a catalog, but for those that it excludes', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  const rules = '# versions\n/software/*/*\n/other\n! /software/b/*\n/none/*\n';
  await repository.publish(memoryTree([dirtab(rules), ...SOFTWARE]));
  assert.deepEqual(await catalogsOf(repository), ['/other', '/software/a/1', '/software/a/2']);
  await assertSound(repository.storage, repository.publicKey);
  assert.equal((await repository.publish(memoryTree([dirtab(rules), ...SOFTWARE]))).changed, false);
});

test('.cvmfsdirtab holds for directories that come later, and a new rule for those that were there', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  await repository.publish(memoryTree([dirtab('/software/*\n'), ...SOFTWARE]));
  const add = (...entries: TreeEntry[]) => repository.publish(memoryTree(entries), { keepsOthers: true });
  await add(entry('/software/c'), entry('/software/c/x', { content: 'x' }));
  assert.deepEqual(await catalogsOf(repository), ['/software/a', '/software/b', '/software/c']);
  await add(dirtab('/software/*\n/software/a/*\n'));
  assert.deepEqual(await catalogsOf(repository), [
    '/software/a',
    '/software/a/1',
    '/software/a/2',
    '/software/b',
    '/software/c',
  ]);
  await add(dirtab('/other\n'));
  assert.equal((await catalogsOf(repository)).length, 6, 'a rule that is gone takes no catalog away');
  await assertSound(repository.storage, repository.publicKey);
});

for (const [what, text, message] of [
  ['a relative rule', 'software/*', /does not begin with a slash/],
  ['a rule that is wanted and excluded', '/a\n!/a', /at the same time/],
  ['an escape of nothing', '/a\\b', /line 1/],
] as const) {
  test(`.cvmfsdirtab with ${what} is refused, and nothing is published`, async (t) => {
    assert.throws(() => parseDirtab(text as ByteString), { code: 'FORMAT', message });
    const repository = await publisherRepository(memoryScratch(t));
    await assert.rejects(repository.publish(memoryTree([dirtab(text)])), { code: 'FORMAT', message });
    assert.equal(repository.manifest().revision, 0);
  });
}

test('.cvmfsdirtab of more than a megabyte is refused', async (t) => {
  const repository = await publisherRepository(memoryScratch(t));
  await assert.rejects(repository.publish(memoryTree([dirtab(`/${'a'.repeat(2 ** 20)}`)])), {
    code: 'LIMIT',
  });
});
