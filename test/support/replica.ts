/** Replicas for tests: from any sources, which a test may let fail, and what has to be so in them at every moment. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { inflateSync } from 'node:zlib';
import { MemoryCache } from '../../src/client/cache.ts';
import { Servers } from '../../src/client/network/servers.ts';
import type { OpenOptions, Source, SourceFile } from '../../src/client/network/source.ts';
import { Objects } from '../../src/client/objects.ts';
import { Repository } from '../../src/client/repository.ts';
import {
  algorithmOf,
  contentHashOf,
  hashBytes,
  objectPath,
  parseContentHash,
} from '../../src/core/content-hash.ts';
import { parseManifest } from '../../src/core/manifest.ts';
import type { Tree } from '../../src/core/tree.ts';
import { importPublicKeys } from '../../src/core/trust.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { FolderSource } from '../../src/node/folder-source.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { nodeSignatures } from '../../src/node/signatures.ts';
import {
  REPLICABLE_PATH,
  type ReplicateOptions,
  type ReplicationReport,
  Replicator,
} from '../../src/replicate/replicator.ts';
import { visitContents } from '../../src/storage/catalog-references.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { entry, memoryTree, noise } from './memory-tree.ts';
import { type PublisherRepository, publisherRepository } from './publisher-repository.ts';
import { memoryScratch } from './scratch.ts';

const PORTS = {
  hashing: nodeHashing,
  inflating: nodeInflating,
  signatures: nodeSignatures,
  clock: nodeClock,
};

/** A repository to replicate: of `publisher-repository.ts`, a fixture, a replica. */
export interface Original {
  readonly storage: string;
  /** A PEM file. */
  readonly publicKey: string;
}

export interface ReplicaOptions extends Partial<ReplicateOptions> {
  /** The storage folder of the original where nothing else is given. */
  readonly sources?: readonly Source[];
  readonly storage?: Storage;
}

const NESTED = ['/a', '/a/b', '/a/b/c', '/d'];

/** Four nested catalogs, a file in each and a chunked one, with contents that `seed` changes. */
export function nestedTree(seed: string): Tree {
  const entries = [
    entry(''),
    entry('/large', { content: noise(60_000, 7) }),
    ...NESTED.flatMap((path) => [
      entry(path),
      entry(`${path}/.cvmfscatalog`, { content: '' }),
      entry(`${path}/file`, { content: path === '/d' ? 'always the same' : `${path} ${seed}` }),
    ]),
  ];
  return memoryTree(entries.sort((x, y) => (x.path < y.path ? -1 : 1)));
}

/** A repository with `nestedTree(seed)`, under the tag v1, that may be replicated. */
export async function replicableRepository(
  t: Pick<TestContext, 'after'>,
  seed = 'one',
): Promise<PublisherRepository> {
  const original = await publisherRepository(memoryScratch(t));
  writeFileSync(join(original.storage, REPLICABLE_PATH), '');
  await original.publish(nestedTree(seed), { tag: { name: 'v1', description: '' } });
  return original;
}

/** Replicates into a folder. */
export function replicate(
  original: Original,
  folder: string,
  { sources, storage, ...options }: ReplicaOptions = {},
): Promise<ReplicationReport> {
  const servers = new Servers(
    sources ?? [new FolderSource(original.storage)],
    { clock: nodeClock, random: { fraction: () => 0 } },
    { backoffInitMs: 1, deadlineMs: 60_000 },
  );
  const objects = new Objects(servers, new MemoryCache(1e6), PORTS);
  const keys = importPublicKeys(nodeSignatures, readFileSync(original.publicKey));
  const { fqrn } = readManifestOf(original.storage);
  const source = new Repository(fqrn, servers, objects, keys, PORTS);
  const whole = { parallel: 4, temporary: `${folder}.reflog`, ...options };
  return new Replicator(source, storage ?? new FolderStorage(folder), PORTS, whole).run();
}

export function readManifestOf(folder: string) {
  return parseManifest(nodeHashing, readFileSync(join(folder, '.cvmfspublished'))).manifest;
}

export type Change = (
  path: string,
  open: () => Promise<SourceFile>,
  options: OpenOptions,
) => Promise<SourceFile> | SourceFile;

/** A folder as a source, whose answers a test changes; `asked` has the paths in the order of the requests. */
export function changedSource(
  folder: string,
  change: Change = (_, open) => open(),
): Source & { asked: string[] } {
  const source = new FolderSource(folder);
  const asked: string[] = [];
  return {
    name: folder,
    asked,
    open: async (path, options) => {
      asked.push(path);
      return change(path, () => source.open(path, options), options);
    },
  };
}

export function fileOf(bytes: Uint8Array): SourceFile {
  const pieces = [bytes];
  return { sizeBytes: bytes.length, next: async () => pieces.shift(), close: () => {} };
}

/** Paths of all objects below a storage folder. */
export function objectsIn(folder: string): string[] {
  const data = join(folder, 'data');
  return readdirSync(data, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name).slice(folder.length + 1))
    .sort();
}

/** Everything that is wrong with a replica that says it is whole: below any catalog that is there, everything is. */
export function faultsOf(folder: string): string[] {
  const faults: string[] = [];
  for (const path of objectsIn(folder)) {
    const bytes = readFileSync(join(folder, path));
    const hash = parseContentHash(path.replace(/^data\/|[CHXMP]$/g, '').replace('/', ''));
    if (hashBytes(nodeHashing, algorithmOf(hash), bytes) !== hash) faults.push(`${path} is damaged`);
    else if (path.endsWith('C')) faults.push(...missingBelow(folder, path, bytes));
  }
  const { rootCatalog, certificate, history, metainfo } = existsSync(join(folder, '.cvmfspublished'))
    ? readManifestOf(folder)
    : {};
  for (const [hash, type] of [
    [rootCatalog, 'C'],
    [certificate, 'X'],
    [history, 'H'],
    [metainfo, 'M'],
  ] as const) {
    if (hash !== undefined && !existsSync(join(folder, objectPath(hash, type))))
      faults.push(`no ${hash}${type}`);
  }
  return faults;
}

function missingBelow(folder: string, catalog: string, bytes: Uint8Array): string[] {
  const wanted: string[] = [];
  const { nested } = visitContents(inflateSync(bytes), (digest, algorithm, type) => {
    wanted.push(objectPath(contentHashOf(algorithm, digest), type));
  });
  for (const { hash } of nested) wanted.push(objectPath(hash, 'C'));
  return wanted.filter((path) => !existsSync(join(folder, path))).map((path) => `${catalog} lacks ${path}`);
}
