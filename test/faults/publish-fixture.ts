/**
 * For tests of the publisher: trees as literals in memory, repositories that share one pair of keys, and one description
 * for both what was published and what clients read, so that the two can be compared.
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { inflateSync } from 'node:zlib';
import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import { readFileContent, walkSnapshot } from '../../src/client/walk.ts';
import type { ByteString, Bytes } from '../../src/core/bytes/byte-string.ts';
import { compareByteStrings } from '../../src/core/bytes/byte-string.ts';
import { type ContentHash, objectPath } from '../../src/core/content-hash.ts';
import { parseFqrn } from '../../src/core/fqrn.ts';
import { MANIFEST_PATH, parseManifest } from '../../src/core/manifest.ts';
import { parentPath } from '../../src/core/path-key.ts';
import { type Clock, silentLog } from '../../src/core/ports.ts';
import type { Tree, TreeEntry } from '../../src/core/tree.ts';
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../src/core/vfs.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { openRepository } from '../../src/node/repository-access.ts';
import { nodeSignatures } from '../../src/node/signatures.ts';
import type { StoredContent, StoreSettings } from '../../src/publish/content-store.ts';
import { writeWhitelist } from '../../src/publish/create-repository.ts';
import { FolderStorage } from '../../src/publish/folder-storage.ts';
import { createKeys, type RepositoryKeys } from '../../src/publish/keys.ts';
import { Publisher, type PublishOptions, type PublishResult } from '../../src/publish/publisher.ts';
import { defaultSettings, type RepositorySettings } from '../../src/publish/repository-settings.ts';
import { scratchFolder } from '../support/scratch.ts';
import { dir, file, hardlink, symlink } from '../support/trees.ts';

export const FQRN = parseFqrn('tree.example.org');
export const SMALL_CHUNKS = { minBytes: 1024, averageBytes: 4096, maxBytes: 16384 };

// ---- trees in memory ----

type EntryValues = Partial<Omit<TreeEntry, 'path' | 'content' | 'xattrs' | 'symlink'>> & {
  readonly content?: string | Uint8Array;
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly symlink?: string;
};

/** One entry; it is a regular file if it has content, a symlink if it has a target, else what `mode` says or a folder. */
export function entry(path: string, values: EntryValues = {}): TreeEntry {
  const { content, xattrs, symlink, mode, ...more } = values;
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  const usual =
    bytes !== undefined ? S_IFREG | 0o644 : symlink !== undefined ? S_IFLNK | 0o777 : S_IFDIR | 0o755;
  return {
    path: path as ByteString,
    mode: mode ?? usual,
    uid: 0,
    gid: 0,
    mtimeSeconds: 1_700_000_000,
    mtimeNs: 0,
    rdev: 0,
    linkKey: undefined,
    ...more,
    symlink: (symlink ?? '') as ByteString,
    xattrs: new Map(
      Object.entries(xattrs ?? {}).map(([name, value]) => [name as ByteString, Buffer.from(value, 'latin1')]),
    ),
    content:
      bytes === undefined ? undefined : { kind: 'stream', sizeBytes: bytes.length, chunks: pieces(bytes) },
  };
}

/** A tree that can be published any number of times. */
export function memoryTree(entries: readonly TreeEntry[], name = 'memory'): Tree {
  return {
    name,
    async *entries() {
      yield* entries;
    },
  };
}

function pieces(bytes: Uint8Array): AsyncIterable<Bytes> {
  return {
    async *[Symbol.asyncIterator]() {
      for (let at = 0; at < bytes.length; at += 5000) yield bytes.subarray(at, at + 5000);
    },
  };
}

/** Bytes that do not compress and are the same in every run: the generator of docs/format.md#chunking. */
export function noise(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    // The product needs 64 bits; of it, the lower 31.
    state = Number((BigInt(state) * 1103515245n + 12345n) & 0x7fff_ffffn);
    bytes[i] = (state >> 16) & 0xff;
  }
  return bytes;
}

/** Some of everything that can be made without being root. */
export const VARIED_TREE = dir({
  usr: dir({
    '.cvmfscatalog': file(''),
    bin: dir({ tool: file('#!/bin/sh\n', { mode: 0o4755 }), same: hardlink('usr/bin/tool') }),
    share: dir({ '.cvmfscatalog': file(''), doc: file('text') }),
  }),
  large: file(noise(100_000)),
  empty: dir({}),
  nothing: file(''),
  lib: symlink('usr/lib'),
});

// ---- a storage alone ----

export const STORE_SETTINGS: StoreSettings = {
  hashAlgorithm: 'shake128',
  compression: 'zlib',
  compressionLevel: 6,
  chunkSizes: SMALL_CHUNKS,
};

export interface StoragePlace {
  readonly folder: string;
  readonly storage: FolderStorage;
  /** Makes a file and answers its path. */
  readonly file: (name: string, content: string | Uint8Array) => Buffer;
}

/** Without the 256 folders of objects, which take longer than most tests: they are made when they are missing. */
export function makeStorage(folder: string): void {
  mkdirSync(join(folder, 'data/txn'), { recursive: true });
}

export function storagePlace(t: Pick<TestContext, 'after'>): StoragePlace {
  const scratch = scratchFolder(t);
  const folder = join(scratch, 'storage');
  const storage = new FolderStorage(folder);
  makeStorage(folder);
  const file = (name: string, content: string | Uint8Array) => {
    writeFileSync(join(scratch, name), content);
    return Buffer.from(join(scratch, name));
  };
  return { folder, storage, file };
}

/** What clients make of the pieces as they are stored. */
export function contentOf(folder: string, { hash, chunks }: StoredContent, compression = 'zlib'): Buffer {
  const read = (path: string) => {
    const bytes = readFileSync(join(folder, path));
    return compression === 'zlib' ? inflateSync(bytes) : bytes;
  };
  if (hash !== undefined) return read(objectPath(hash, ''));
  return Buffer.concat(chunks.map((chunk) => read(objectPath(chunk.hash, 'P'))));
}

// ---- repositories ----

/** In memory where that is possible: each publish waits until its file system has written everything. */
export function memoryScratch(t: Pick<TestContext, 'after'>, size = '256m'): string {
  const folder = scratchFolder(t);
  if (process.getuid?.() === 0) spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  return folder;
}

/** Seconds that a test sets. */
export function testClock(seconds: number): Clock & { seconds: number } {
  const clock = { ...nodeClock, seconds, unixSeconds: () => clock.seconds };
  return clock;
}

let sharedKeys: Promise<RepositoryKeys> | undefined;

/** Made once per process: RSA keys take longer than most tests. */
function keysOfTests(folder: string): Promise<RepositoryKeys> {
  sharedKeys ??= createKeys(folder, FQRN, 1_700_000_000);
  return sharedKeys;
}

export interface TestRepository {
  readonly settings: RepositorySettings;
  readonly storage: string;
  readonly publicKey: string;
  /** Of the publisher alone. */
  readonly folder: string;
  readonly clock: Clock & { seconds: number };
  publish(tree: Tree, options?: PublishOptions): Promise<PublishResult>;
  /** What clients read now; or with a root hash, of that snapshot. */
  read(rootHash?: ContentHash): Promise<Map<string, Described>>;
  manifest(): ReturnType<typeof parseManifest>['manifest'];
  /** Objects in the storage. */
  objects(): string[];
}

/** An empty repository at revision 0 below `scratch`, with small chunks and a clock that stands still. */
export async function testRepository(
  scratch: string,
  changes: Partial<RepositorySettings> = {},
  name = 'r',
): Promise<TestRepository> {
  const folder = join(scratch, `${name}-publisher`);
  const storage = join(scratch, name, FQRN);
  const clock = testClock(1_750_000_000);
  const settings = { ...defaultSettings(FQRN, storage), chunkSizes: SMALL_CHUNKS, ...changes };
  mkdirSync(folder, { recursive: true });
  const keys = await keysOfTests(folder);
  const publicKey = join(folder, 'client.pub');
  writeFileSync(publicKey, keys.publicKey);
  const ports = { hashing: nodeHashing, inflating: nodeInflating, signatures: nodeSignatures, clock };
  makeStorage(storage);
  // Clients compare with the time of this machine.
  await writeWhitelist(settings, keys, { ...ports, clock: nodeClock });
  await new Publisher({ settings, keys, folder }, ports).publishFirst(Buffer.from('{}\n'));
  return {
    settings,
    storage,
    publicKey,
    folder,
    clock,
    // A publisher counts for one publish.
    publish: (tree, options = {}) =>
      new Publisher({ settings, keys, folder }, ports).publish(tree, { threads: 1, ...options }),
    read: (rootHash) => readRepository(storage, publicKey, rootHash),
    manifest: () => readManifest(storage),
    objects: () => objectsOf(storage),
  };
}

export function readManifest(storage: string): ReturnType<typeof parseManifest>['manifest'] {
  return parseManifest(nodeHashing, readFileSync(join(storage, MANIFEST_PATH))).manifest;
}

/** Paths of all objects, without temporary files. */
export function objectsOf(storage: string): string[] {
  return readdirSync(join(storage, 'data'))
    .filter((shard) => shard !== 'txn')
    .flatMap((shard) => readdirSync(join(storage, 'data', shard)).map((name) => `data/${shard}/${name}`))
    .sort();
}

/** A catalog, or the tag database, as SQLite sees it. */
export function openObject(
  storage: string,
  hash: ContentHash,
  type: 'C' | 'H',
  scratch: string,
): DatabaseSync {
  return openDatabase(inflateSync(readFileSync(join(storage, objectPath(hash, type)))), scratch);
}

let databases = 0;

export function openDatabase(bytes: Uint8Array, scratch: string): DatabaseSync {
  const path = join(scratch, `opened-${databases++}.db`);
  // `deserialize` is younger than the oldest Node that this project runs on.
  writeFileSync(path, bytes);
  return new DatabaseSync(path, { readOnly: true });
}

// ---- descriptions ----

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

/** Clients see the tree as it is. */
export async function assertReadsBack(repository: TestRepository, tree: Tree): Promise<void> {
  const expected = await describeTree(tree);
  const actual = await repository.read();
  assert.deepEqual([...actual.keys()], [...expected.keys()]);
  assert.deepEqual(actual, expected);
}
