/**
 * The tree of the soak: folders of a hundred small files, all of a few different contents, some large files, and a folder of news, which
 * every update replaces.
 */

import { randomFillSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publisherPorts } from '../src/cli/publisher-ports.ts';
import type { ByteString } from '../src/core/bytes/byte-string.ts';
import { parseFqrn } from '../src/core/fqrn.ts';
import type { Tree, TreeEntry } from '../src/core/tree.ts';
import { S_IFDIR, S_IFREG } from '../src/core/vfs.ts';
import { createRepository } from '../src/publish/create-repository.ts';
import { loadKeys } from '../src/publish/keys.ts';
import { Publisher } from '../src/publish/publisher.ts';
import { defaultSettings, RepositoryRegistry } from '../src/publish/repository-settings.ts';

export const SOAK_FQRN = parseFqrn('soak.example.org');
export const FILES_PER_FOLDER = 100;
/** Entries of a group of folders, which becomes a catalog of its own. */
const FOLDERS_PER_GROUP = 100;
const CONTENTS = 50;
export const LARGE_FILES = 4;
const LARGE_BYTES = 48 * 1024 * 1024;
export const NEWS_FILES = 20;

export const contentOf = (file: number): string =>
  `content ${file % CONTENTS}\n`.repeat(1 + (file % CONTENTS) * 20);
export const folderOf = (folder: number): string =>
  `group-${Math.floor(folder / FOLDERS_PER_GROUP)}/folder-${String(folder).padStart(5, '0')}`;

/** What all files of the news say after as many updates. */
export const newsOf = (updates: number): string => `after ${updates} updates\n`.repeat(200);

/** Writes the news into a folder, to be published as `/news`. */
export function writeNews(folder: string, updates: number): void {
  mkdirSync(folder, { recursive: true });
  for (let i = 0; i < NEWS_FILES; i++) writeFileSync(join(folder, `news-${i}`), newsOf(updates) + i);
}

class SoakTree implements Tree {
  readonly name = 'soak';
  readonly #scratch: string;
  readonly #folders: number;

  constructor(scratch: string, folders: number) {
    this.#scratch = scratch;
    this.#folders = folders;
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    yield entry('', S_IFDIR | 0o755);
    for (let i = 0; i < LARGE_FILES; i++)
      yield entry(`/large-${i}`, S_IFREG | 0o644, join(this.#scratch, `large-${i}`), LARGE_BYTES);
    for (let folder = 0; folder < this.#folders; folder++) {
      if (folder % FOLDERS_PER_GROUP === 0)
        yield entry(`/group-${folder / FOLDERS_PER_GROUP}`, S_IFDIR | 0o755);
      yield entry(`/${folderOf(folder)}`, S_IFDIR | 0o755);
      for (let file = 0; file < FILES_PER_FOLDER; file++) {
        const path = `/${folderOf(folder)}/file-${file}.txt`;
        yield entry(
          path,
          S_IFREG | 0o644,
          join(this.#scratch, `small-${file % CONTENTS}`),
          contentOf(file).length,
        );
      }
    }
  }
}

function entry(path: string, mode: number, file?: string, sizeBytes = 0): TreeEntry {
  return {
    path: path as ByteString,
    mode,
    uid: 0,
    gid: 0,
    mtimeSeconds: 1_700_000_000,
    mtimeNs: 0,
    symlink: '' as ByteString,
    rdev: 0,
    xattrs: new Map(),
    linkKey: undefined,
    content: file === undefined ? undefined : { kind: 'file', hostPath: file as ByteString, sizeBytes },
  };
}

/** Publishes about `entries` entries, with storage, keys and registry (`config`) below `scratch`; answers how many folders there are. */
export async function publishSoakTree(scratch: string, entries: number): Promise<number> {
  const folders = Math.ceil(entries / (FILES_PER_FOLDER + 1));
  for (let i = 0; i < CONTENTS; i++) writeFileSync(join(scratch, `small-${i}`), contentOf(i));
  for (let i = 0; i < LARGE_FILES; i++)
    writeFileSync(join(scratch, `large-${i}`), randomFillSync(Buffer.alloc(LARGE_BYTES)));
  const registry = new RepositoryRegistry(join(scratch, 'config'));
  const settings = {
    ...defaultSettings(SOAK_FQRN, join(scratch, SOAK_FQRN)),
    catalogs: { maxEntries: 100_000, minEntries: 1000 },
  };
  await createRepository(registry, settings, publisherPorts);
  const keys = loadKeys(registry.folderOf(SOAK_FQRN), SOAK_FQRN);
  const publisher = new Publisher({ settings, keys, folder: registry.folderOf(SOAK_FQRN) }, publisherPorts);
  await publisher.publish(new SoakTree(scratch, folders));
  return folders;
}
