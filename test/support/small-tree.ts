/** A small repository with one of each kind of entry, nested catalogs and a chunked file. */

import type { TestContext } from 'node:test';
import type { ByteString } from '../../src/core/bytes/byte-string.ts';
import type { TreeEntry } from '../../src/core/tree.ts';
import { type PublishedRepository, publishRepository } from './client-repository.ts';
import { noise } from './memory-tree.ts';
import { dir, file, hardlink, type Literal, symlink } from './trees.ts';

const CHUNKED_BYTES = 300_000;
const KIB = 1024;

/** Bytes that do not repeat, so that chunks are cut at many places. */
export const CHUNKED: Buffer = Buffer.from(noise(CHUNKED_BYTES));

const MARKER = { '.cvmfscatalog': file('') };

export const SMALL_TREE: Literal = dir({
  'a.txt': file('hello', { mode: 0o640, mtimeSeconds: 1_600_000_000 }),
  chunked: file(CHUNKED),
  empty: file(''),
  etc: dir({ passwd: file('root:x:0:0\n'), 'default-link': symlink('/usr/share') }, { mode: 0o700 }),
  'first-name': file('linked'),
  link: symlink('a.txt'),
  loop: symlink('loop'),
  'second-name': hardlink('first-name'),
  usr: dir({
    ...MARKER,
    bin: dir({ sh: file('#!', { mode: 0o755 }), up: symlink('../../etc/passwd') }),
    share: dir({ ...MARKER, doc: dir({ readme: file('read me') }) }),
  }),
  'variable-link': symlink('$(PLACE:-nowhere)/x'),
});

export const XATTRS: ReadonlyMap<ByteString, Uint8Array> = new Map([
  ['user.comment' as ByteString, Buffer.from('a remark')],
  ['security.capability' as ByteString, Buffer.from([1, 0, 0, 2])],
]);

const addXattrs = (entry: TreeEntry): TreeEntry =>
  entry.path === '/a.txt' ? { ...entry, xattrs: XATTRS } : entry;

export async function publishSmallTree(scope: Pick<TestContext, 'after'>): Promise<PublishedRepository> {
  const chunkSizes = { minBytes: 16 * KIB, averageBytes: 32 * KIB, maxBytes: 64 * KIB };
  const published = await publishRepository(scope, { chunkSizes });
  await published.publish(SMALL_TREE, 'v1', addXattrs);
  return published;
}
