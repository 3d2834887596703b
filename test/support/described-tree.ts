/** One description for both what is published and what clients read, so that the two can be compared. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import { readFileContent, walkSnapshot } from '../../src/client/walk.ts';
import { compareByteStrings } from '../../src/core/bytes/byte-string.ts';
import type { ContentHash } from '../../src/core/content-hash.ts';
import { parentPath } from '../../src/core/path-key.ts';
import { silentLog } from '../../src/core/ports.ts';
import type { Tree, TreeEntry } from '../../src/core/tree.ts';
import { S_IFLNK, S_IFMT, S_IFREG } from '../../src/core/vfs.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { openRepository } from '../../src/node/repository-access.ts';

/** All that must survive publishing. */
export interface Described {
  readonly mode: string;
  readonly owner: string;
  readonly mtime: string;
  readonly rdev: number;
  readonly target: string;
  readonly content: string | undefined;
  readonly xattrs: Readonly<Record<string, string>>;
  /** Names of the same inode in this folder, for files with more than one. */
  readonly links: readonly string[];
}

function describeContent(bytes: Uint8Array): string {
  return `${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex')}`;
}

function describeXattrs(xattrs: Iterable<readonly [string, Uint8Array]>): Record<string, string> {
  const pairs = [...xattrs].map(([name, value]) => [name, Buffer.from(value).toString('hex')] as const);
  return Object.fromEntries(pairs.sort(([a], [b]) => compareByteStrings(a, b)));
}

/** What a client should see of a tree. */
export async function describeTree(tree: Tree): Promise<Map<string, Described>> {
  const entries: TreeEntry[] = [];
  const contents = new Map<string, string>();
  for await (const one of tree.entries()) {
    entries.push(one);
    const content = await collect(one);
    if (content !== undefined) contents.set(one.linkKey ?? one.path, describeContent(content));
  }
  const linksOf = ({ path, linkKey }: TreeEntry) =>
    linkKey === undefined
      ? []
      : entries
          .filter((other) => other.linkKey === linkKey && parentPath(other.path) === parentPath(path))
          .map((other) => other.path);
  const described = entries.map((one): [string, Described] => {
    const links = linksOf(one);
    return [
      one.path,
      {
        mode: one.mode.toString(8),
        owner: `${one.uid}:${one.gid}`,
        mtime: `${one.mtimeSeconds}+${one.mtimeNs}`,
        rdev: one.rdev,
        target: one.symlink,
        content: contents.get(one.linkKey ?? one.path),
        xattrs: describeXattrs(one.xattrs),
        links: links.length > 1 ? links.sort(compareByteStrings) : [],
      },
    ];
  });
  return sorted(described);
}

async function collect({ content }: TreeEntry): Promise<Uint8Array | undefined> {
  if (content === undefined) return undefined;
  if (content.kind === 'file') return readFileSync(Buffer.from(content.hostPath, 'latin1'));
  const parts: Uint8Array[] = [];
  for await (const part of content.chunks) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

/** What a client sees, with every signature and hash on the way verified. */
export async function readRepository(
  storage: string,
  publicKey: string,
  rootHash?: ContentHash,
): Promise<Map<string, Described>> {
  const access = openRepository(
    { fqrn: storage.split('/').at(-1)!, servers: [storage], proxies: [], keyFiles: [publicKey] },
    { cacheFolder: undefined, cacheLimitBytes: 64 * 1024 * 1024, log: silentLog },
  );
  try {
    const snapshot = await access.repository.resolve({ rootHash });
    const mounted = await MountedSnapshot.open(snapshot, access.objects, { hashing: nodeHashing });
    const namesOfInode = new Map<string, string[]>();
    const described: [string, Described][] = [];
    for await (const { path, node, attributes } of walkSnapshot(mounted)) {
      const kind = attributes.mode & S_IFMT;
      const inode = `${attributes.inodeHigh}:${attributes.inodeLow}`;
      const names = namesOfInode.get(inode) ?? [];
      names.push(path);
      namesOfInode.set(inode, names);
      const isLinked = kind === S_IFREG && attributes.linkCount > 1;
      described.push([
        path,
        {
          mode: attributes.mode.toString(8),
          owner: `${attributes.uid}:${attributes.gid}`,
          mtime: `${attributes.mtimeSeconds}+${attributes.mtimeNs}`,
          rdev: attributes.rdev,
          target: kind === S_IFLNK ? mounted.vfs.readlink(node)! : '',
          content:
            kind === S_IFREG
              ? describeContent(await readFileContent(mounted, node, 0, attributes.sizeBytes))
              : undefined,
          xattrs: describeXattrs(
            mounted.vfs
              .listxattr(node)
              .filter((name) => mounted.vfs.getxattr(node, name) !== undefined)
              .map((name) => [name, mounted.vfs.getxattr(node, name)!] as const),
          ),
          // Filled in below, when all names are known.
          links: isLinked ? names : [],
        },
      ]);
    }
    for (const [, { links }] of described) (links as string[]).sort(compareByteStrings);
    return sorted(described);
  } finally {
    access.close();
  }
}

function sorted(pairs: readonly [string, Described][]): Map<string, Described> {
  return new Map([...pairs].sort(([a], [b]) => compareByteStrings(a, b)));
}
