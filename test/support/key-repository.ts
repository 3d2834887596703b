/**
 * A repository for tests of keys: copies of one that was made once, each with its own storage, keys and clock, and the
 * copies of manifest and whitelist that caches may still hold.
 */

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Source } from '../../src/client/network/source.ts';
import type { Fqrn } from '../../src/core/fqrn.ts';
import { MANIFEST_PATH, type Manifest } from '../../src/core/manifest.ts';
import type { Clock } from '../../src/core/ports.ts';
import { WHITELIST_PATH } from '../../src/core/whitelist.ts';
import { FolderSource } from '../../src/node/folder-source.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { nodeSignatures } from '../../src/node/signatures.ts';
import { createRepository } from '../../src/publish/create-repository.ts';
import { type KeyPaths, keyPaths } from '../../src/publish/key-paths.ts';
import type { KeyPlace } from '../../src/publish/key-place.ts';
import { type CreateKeysOptions, loadKeys } from '../../src/publish/keys.ts';
import type { AskPassphrase } from '../../src/publish/private-keys.ts';
import { Publisher, type PublisherPorts } from '../../src/publish/publisher.ts';
import { defaultSettings, RepositoryRegistry } from '../../src/publish/repository-settings.ts';
import { openClient } from './client-repository.ts';
import { entry, memoryTree } from './memory-tree.ts';
import { FQRN, testClock } from './publisher-repository.ts';

export { FQRN } from './publisher-repository.ts';

const STARTED = 1_750_000_000;

export class KeyRepository {
  readonly folder: string;
  readonly clock: Clock & { seconds: number };
  readonly place: KeyPlace;
  readonly ports: PublisherPorts;

  constructor(scratch: string, seconds = STARTED, ask?: AskPassphrase) {
    this.folder = scratch;
    this.clock = testClock(seconds);
    this.ports = {
      hashing: nodeHashing,
      inflating: nodeInflating,
      signatures: nodeSignatures,
      clock: this.clock,
    };
    const settings = defaultSettings(FQRN, join(scratch, 'storage', FQRN));
    this.place = { settings, folder: this.#registry.folderOf(FQRN), ask };
  }

  /** `seconds` is the time of its clock; commands want that of this machine. */
  static async create(
    scratch: string,
    options: CreateKeysOptions = {},
    seconds = STARTED,
  ): Promise<KeyRepository> {
    const { passphrase } = options;
    const made = new KeyRepository(scratch, seconds, passphrase === undefined ? undefined : () => passphrase);
    await createRepository(made.#registry, made.place.settings, made.ports, options);
    return made;
  }

  /** The same at another place, at the same time. */
  copy(scratch: string): KeyRepository {
    for (const name of ['repositories', 'storage']) {
      cpSync(join(this.folder, name), join(scratch, name), { recursive: true, preserveTimestamps: true });
    }
    const copied = new KeyRepository(scratch, this.clock.seconds, this.place.ask);
    const settings = join(copied.place.folder, 'repository.yaml');
    writeFileSync(settings, readFileSync(settings, 'utf8').replace(this.storage, copied.storage));
    return copied;
  }

  get #registry(): RepositoryRegistry {
    return new RepositoryRegistry(this.folder);
  }

  get fqrn(): Fqrn {
    return FQRN;
  }

  get storage(): string {
    return this.place.settings.storage;
  }

  get paths(): KeyPaths {
    return keyPaths(this.place.folder, FQRN);
  }

  get next(): KeyPaths {
    return keyPaths(this.place.folder, FQRN, 'next');
  }

  async publish(content: string): Promise<void> {
    const { settings, folder, ask } = this.place;
    const publisher = new Publisher({ settings, keys: loadKeys(folder, FQRN, ask), folder }, this.ports);
    await publisher.publish(memoryTree([entry(''), entry('/content', { content })]), { threads: 1 });
  }

  /** What a client with the keys in these files gets, from this storage or with other files in place of its own. */
  fetchManifest(
    keyFiles: readonly string[],
    replaced: Readonly<Record<string, Uint8Array>> = {},
  ): Promise<Manifest> {
    const publicKey = Buffer.concat(keyFiles.map((path) => readFileSync(path)));
    const sources = [withFiles(new FolderSource(this.storage), replaced)];
    const client = openClient(
      { ...this, fqrn: FQRN, storage: this.storage, publicKey },
      { sources, clock: this.clock },
    );
    return client.repository.fetchManifest();
  }
}

/** A server with some files in place of its own. */
export function withFiles(source: Source, files: Readonly<Record<string, Uint8Array>>): Source {
  return {
    name: source.name,
    open: async (path, options) => {
      const bytes = files[path];
      if (bytes === undefined) return source.open(path, options);
      const parts = [bytes];
      return { sizeBytes: bytes.length, next: async () => parts.shift(), close: () => {} };
    },
  };
}

/** Remembers manifests and whitelists for as long as caches may. */
export class Caches {
  readonly #repository: KeyRepository;
  readonly #lifeSeconds: number;
  readonly #seen = new Map<string, { readonly bytes: Uint8Array; replacedSeconds: number }[]>();

  constructor(repository: KeyRepository, lifeSeconds: number) {
    this.#repository = repository;
    this.#lifeSeconds = lifeSeconds;
    this.look();
  }

  /** To be called after everything that may have replaced a file. */
  look(): void {
    for (const path of [MANIFEST_PATH, WHITELIST_PATH]) {
      const bytes = readFileSync(join(this.#repository.storage, path));
      const versions = this.#seen.get(path) ?? [];
      const last = versions.at(-1);
      if (last !== undefined && bytes.equals(last.bytes)) continue;
      if (last !== undefined) last.replacedSeconds = this.#repository.clock.seconds;
      this.#seen.set(path, [...versions, { bytes, replacedSeconds: Number.POSITIVE_INFINITY }]);
    }
  }

  /** Every pair that a client may be given now; rejects if it would refuse one. */
  async assertAccepted(keyFiles: readonly string[]): Promise<number> {
    this.look();
    const oldest = this.#repository.clock.seconds - this.#lifeSeconds;
    const held = (path: string) =>
      this.#seen.get(path)!.filter(({ replacedSeconds }) => replacedSeconds > oldest);
    let pairs = 0;
    for (const manifest of held(MANIFEST_PATH)) {
      for (const whitelist of held(WHITELIST_PATH)) {
        const files = { [MANIFEST_PATH]: manifest.bytes, [WHITELIST_PATH]: whitelist.bytes };
        await this.#repository.fetchManifest(keyFiles, files);
        pairs++;
      }
    }
    return pairs;
  }
}
