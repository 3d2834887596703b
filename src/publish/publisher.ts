/**
 * Publishes a tree as the next revision of a repository. Order is everything: contents, catalogs from the leaves up,
 * history, then all of it to the disk, then the reference log, and last the manifest, in one rename. Whatever happens
 * before that rename, readers have the old revision, whole.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { displayBytes } from '../core/bytes/utf8.ts';
import { CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import { entriesOf } from '../core/catalog/counters.ts';
import {
  algorithmOf,
  type ContentHash,
  hashBytes,
  NULL_HASH,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { decodeHistory, type History, MAX_HISTORY_BYTES } from '../core/history.ts';
import {
  formatManifest,
  MANIFEST_PATH,
  type Manifest,
  parseManifest,
  type SignedManifest,
} from '../core/manifest.ts';
import type { Clock, Hashing, Inflating, Signatures } from '../core/ports.ts';
import { formatSignedText } from '../core/signed-text.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { verifyManifestSignature } from '../core/trust.ts';
import { type CatalogPlan, planCatalogs } from './catalog-plan.ts';
import { catalogContents, hasContents, type StoredCatalog } from './catalog-rows.ts';
import { encodeCatalog } from './catalog-writer.ts';
import { type AddedContent, ContentPool } from './content-pool.ts';
import { ContentStore, type StoredContent } from './content-store.ts';
import {
  checkNewTag,
  encodeHistory,
  encodeReflog,
  historyWithRevision,
  type ReferenceType,
} from './history-writer.ts';
import { type RepositoryKeys, signManifest } from './keys.ts';
import { takeLock } from './lock.ts';
import { openStorage } from './open-storage.ts';
import type { RepositorySettings } from './repository-settings.ts';
import type { Storage, StorageLocation } from './storage.ts';
import { TreeIndex, type TreeNode } from './tree-index.ts';

export const REFLOG_PATH = '.cvmfsreflog';

export interface PublisherPorts {
  readonly hashing: Hashing;
  readonly inflating: Inflating;
  readonly signatures: Signatures;
  readonly clock: Clock;
}

export interface PublishTarget {
  readonly settings: RepositorySettings;
  readonly keys: RepositoryKeys;
  /** Lock and other files of the publisher alone. */
  readonly folder: string;
}

export interface PublishProgress {
  readonly entries: number;
  readonly files: number;
  readonly readBytes: number;
  readonly phase: 'files' | 'catalogs' | 'signing';
}

export interface PublishOptions {
  readonly tag?: { readonly name: string; readonly description: string } | undefined;
  readonly onProgress?: (progress: PublishProgress) => void;
  readonly threads?: number;
}

export interface PublishResult {
  readonly revision: number;
  readonly rootCatalog: ContentHash;
  /** False if the tree is the one published last, and no tag was asked for. */
  readonly changed: boolean;
  readonly entries: number;
  readonly catalogs: number;
  /** Files and bytes read from the tree. */
  readonly fileBytes: number;
  /** Objects that were not there before, and their stored size. */
  readonly newObjects: number;
  readonly newBytes: number;
}

export class Publisher {
  readonly #target: PublishTarget;
  readonly #ports: PublisherPorts;
  readonly #location: StorageLocation;
  readonly #storage: Storage;
  readonly #metadata: ContentStore;
  readonly #scratch: string;

  constructor(target: PublishTarget, ports: PublisherPorts) {
    this.#target = target;
    this.#ports = ports;
    this.#location = { kind: 'folder', path: target.settings.storage };
    this.#storage = openStorage(this.#location);
    this.#metadata = new ContentStore(this.#storage, ports.hashing, target.settings);
    this.#scratch = join(target.folder, 'publish.db');
  }

  /** Makes the tree the newest revision. Throws; then the storage is at the revision it had. */
  async publish(tree: Tree, options: PublishOptions = {}): Promise<PublishResult> {
    return this.#locked(async () => {
      const current = await this.#readManifest();
      const history = await this.#readHistory(current.manifest);
      // Before hours of work, not after.
      if (options.tag !== undefined) checkNewTag(history, options.tag.name);
      const stored = await this.#storeTree(tree, options);
      return this.#commit(current.manifest, history, stored, options);
    });
  }

  /** The first revision of a new repository: an empty directory. */
  async publishFirst(metainfo: Uint8Array): Promise<PublishResult> {
    return this.#locked(async () => {
      const { settings } = this.#target;
      const hash = await this.#metadata.putMetadata('M', metainfo);
      const none: Manifest = {
        rootCatalog: NULL_HASH,
        rootCatalogSizeBytes: 0,
        ttlSeconds: settings.ttlSeconds,
        revision: -1,
        garbageCollectable: true,
        hasAlternativePaths: false,
        fqrn: settings.fqrn,
        certificate: undefined,
        history: undefined,
        publishedSeconds: undefined,
        metainfo: hash,
        reflog: undefined,
      };
      const index = new TreeIndex();
      index.root.metadata = { ...index.root.metadata, mtimeSeconds: this.#ports.clock.unixSeconds() };
      const emptyFile = await this.#storeEmptyFile();
      const stored = { root: index.root, emptyFile, entries: 1, fileBytes: 0, newObjects: 0, newBytes: 0 };
      const history = { fqrn: settings.fqrn, previousRevision: undefined, tags: [] };
      return this.#commit(none, history, stored, {});
    });
  }

  // ---- contents ----

  async #storeTree(tree: Tree, options: PublishOptions): Promise<StoredTree> {
    const { settings } = this.#target;
    const emptyFile = await this.#storeEmptyFile();
    const pool = new ContentPool(this.#location, settings, options.threads);
    try {
      const index = new TreeIndex();
      const byLink = new Map<string, AddedContent>();
      let files = 0;
      for await (const entry of tree.entries()) {
        const node = index.add(entry);
        const content = await this.#storeContent(pool, entry, byLink);
        if (content !== undefined) {
          files++;
          content.stored.then(
            (stored) => {
              node.content = stored;
            },
            // `drain` reports the failure.
            () => {},
          );
        }
        options.onProgress?.({
          phase: 'files',
          entries: index.entries,
          files,
          readBytes: pool.counters().readBytes,
        });
      }
      await pool.drain();
      index.finish();
      const { readBytes, newObjects, newBytes } = pool.counters();
      options.onProgress?.({ phase: 'catalogs', entries: index.entries, files, readBytes });
      return {
        root: index.root,
        emptyFile,
        entries: index.entries,
        fileBytes: readBytes,
        newObjects,
        newBytes,
      };
    } finally {
      await pool.close();
    }
  }

  /** Each file once, however many names it has. */
  async #storeContent(
    pool: ContentPool,
    { path, content, linkKey }: TreeEntry,
    byLink: Map<string, AddedContent>,
  ): Promise<AddedContent | undefined> {
    const known = linkKey === undefined ? undefined : byLink.get(linkKey);
    if (known !== undefined && content?.kind !== 'stream') return known;
    if (content !== undefined) {
      const added = await pool.add(content);
      if (linkKey !== undefined) byLink.set(linkKey, added);
      return added;
    }
    if (linkKey === undefined) return undefined;
    throw new ThimbleError(
      'FORMAT',
      `Cannot publish ${displayBytes(path)}: the file it is a hard link of does not come before it`,
    );
  }

  async #storeEmptyFile(): Promise<StoredContent> {
    return { sizeBytes: 0, hash: await this.#metadata.putContent('', new Uint8Array(0)), chunks: [] };
  }

  // ---- catalogs and signature ----

  async #commit(
    current: Manifest,
    history: History,
    tree: StoredTree,
    options: PublishOptions,
  ): Promise<PublishResult> {
    const { settings } = this.#target;
    const { clock } = this.#ports;
    const plan = planCatalogs(tree.root, settings.catalogs, tree.emptyFile);
    const previous =
      current.rootCatalog === NULL_HASH ? undefined : await this.#openCatalog(current.rootCatalog);
    const nowSeconds = Math.max(clock.unixSeconds(), current.publishedSeconds ?? 0);
    const root = await this.#storeCatalogs(plan, previous, current.revision + 1, nowSeconds);
    const isSame = root.hash === current.rootCatalog;
    const result = {
      revision: isSame ? current.revision : current.revision + 1,
      rootCatalog: root.hash,
      changed: !isSame || options.tag !== undefined,
      entries: entriesOf(root.counters),
      catalogs: 1 + root.counters.self.nested + root.counters.subtree.nested,
      fileBytes: tree.fileBytes,
    };
    if (result.changed) {
      options.onProgress?.({ phase: 'signing', entries: tree.entries, files: 0, readBytes: tree.fileBytes });
      const head = {
        rootCatalog: root.hash,
        rootCatalogSizeBytes: root.sizeBytes,
        revision: result.revision,
        timestampSeconds: nowSeconds,
      };
      const tags = historyWithRevision(history, head, options.tag);
      const historyFile = encodeHistory(settings.fqrn, tags, current.history, this.#scratch);
      await this.#sign({
        ...current,
        rootCatalog: root.hash,
        rootCatalogSizeBytes: root.sizeBytes,
        ttlSeconds: settings.ttlSeconds,
        revision: result.revision,
        certificate: await this.#metadata.putMetadata('X', this.#target.keys.certificate),
        history: await this.#metadata.putMetadata('H', historyFile),
        publishedSeconds: nowSeconds,
      });
    }
    const { newObjects, newBytes } = this.#metadata.counters;
    return { ...result, newObjects: tree.newObjects + newObjects, newBytes: tree.newBytes + newBytes };
  }

  /** Stores the catalogs of a plan, leaves first. One that exists with the same contents is used again. */
  async #storeCatalogs(
    plan: CatalogPlan,
    previous: OpenCatalog | undefined,
    rootRevision: number,
    nowSeconds: number,
  ): Promise<StoredCatalog> {
    const { settings } = this.#target;
    const { path } = plan.root;
    const known = new Map(previous?.reader.nested.map((reference) => [reference.path, reference]));
    const nested: StoredCatalog[] = [];
    for (const child of plan.nested) {
      const reference = known.get(child.root.path);
      const old = reference === undefined ? undefined : await this.#openCatalog(reference.hash);
      nested.push(await this.#storeCatalogs(child, old, rootRevision, nowSeconds));
    }
    const contents = catalogContents(plan, nested, this.#ports.hashing, settings);
    if (previous !== undefined && hasContents(previous.reader, contents)) {
      return { path, hash: previous.hash, sizeBytes: previous.sizeBytes, counters: contents.counters };
    }
    const oldRevision = Number(previous?.reader.properties.get('revision' as never) ?? 0);
    const isRoot = path === '';
    const bytes = encodeCatalog(
      contents,
      {
        revision: isRoot ? rootRevision : oldRevision + 1,
        lastModifiedSeconds: nowSeconds,
        previousRevision: previous?.hash ?? (isRoot ? '' : NULL_HASH),
        ...(isRoot ? { ttlSeconds: settings.ttlSeconds } : { rootPrefix: path }),
      },
      this.#scratch,
    );
    const hash = await this.#metadata.putMetadata('C', bytes);
    return { path, hash, sizeBytes: bytes.length, counters: contents.counters };
  }

  async #sign(manifest: Manifest): Promise<void> {
    const { settings, keys } = this.#target;
    const { hashing } = this.#ports;
    const references: { hash: string; type: ReferenceType }[] = [
      { hash: manifest.rootCatalog, type: 'catalog' },
    ];
    if (manifest.certificate !== undefined)
      references.push({ hash: manifest.certificate, type: 'certificate' });
    if (manifest.history !== undefined) references.push({ hash: manifest.history, type: 'history' });
    if (manifest.metainfo !== undefined) references.push({ hash: manifest.metainfo, type: 'metainfo' });
    const reflog = encodeReflog(
      settings.fqrn,
      await this.#storage.read(REFLOG_PATH),
      references,
      manifest.publishedSeconds ?? 0,
      this.#scratch,
    );
    const signed = await formatSignedText(
      hashing,
      algorithmOf(manifest.rootCatalog),
      formatManifest({ ...manifest, reflog: hashBytes(hashing, settings.hashAlgorithm, reflog) }),
      (text) => signManifest(keys, text),
    );
    // What is published has been read once by the code that will read it.
    this.#verifyOwn(parseManifest(hashing, signed));
    await this.#storage.flush();
    await this.#storage.replace(REFLOG_PATH, reflog);
    await this.#storage.replace(MANIFEST_PATH, signed);
  }

  // ---- what is published now ----

  async #readManifest(): Promise<SignedManifest> {
    const bytes = await this.#storage.read(MANIFEST_PATH);
    if (bytes === undefined) {
      throw new ThimbleError('NOT_FOUND', `Cannot publish: there is no repository in ${this.#storage.name}`, {
        hint: 'the settings name this folder as its storage; was it moved?',
      });
    }
    const signed = parseManifest(this.#ports.hashing, bytes);
    this.#verifyOwn(signed);
    return signed;
  }

  #verifyOwn(signed: SignedManifest): void {
    const { settings, keys } = this.#target;
    if (signed.manifest.fqrn !== settings.fqrn) {
      throw new ThimbleError(
        'TRUST',
        `Cannot publish: the storage ${this.#storage.name} is of ${signed.manifest.fqrn}`,
      );
    }
    verifyManifestSignature(this.#ports, signed, keys.certificate);
  }

  async #readHistory(manifest: Manifest): Promise<History> {
    if (manifest.history === undefined) return { fqrn: manifest.fqrn, previousRevision: undefined, tags: [] };
    return decodeHistory(await this.#load(manifest.history, 'H', MAX_HISTORY_BYTES));
  }

  async #openCatalog(hash: ContentHash): Promise<OpenCatalog> {
    const bytes = await this.#load(hash, 'C', MAX_CATALOG_BYTES);
    return { hash, sizeBytes: bytes.length, reader: CatalogReader.open(bytes) };
  }

  async #load(hash: ContentHash, type: ObjectType, limitBytes: number): Promise<Uint8Array> {
    const path = objectPath(hash, type);
    const stored = await this.#storage.read(path);
    if (stored === undefined)
      throw new ThimbleError('NOT_FOUND', `Cannot publish: ${path} is missing in ${this.#storage.name}`);
    if (hashBytes(this.#ports.hashing, algorithmOf(hash), stored) !== hash) {
      throw new ThimbleError('INTEGRITY', `Cannot publish: ${path} in ${this.#storage.name} is damaged`);
    }
    return this.#ports.inflating.inflate(stored, limitBytes);
  }

  // ---- order ----

  async #locked<T>(action: () => Promise<T>): Promise<T> {
    const release = takeLock(join(this.#target.folder, 'publish.lock'), this.#target.settings.fqrn);
    try {
      return await action();
    } finally {
      try {
        rmSync(this.#scratch, { force: true });
        await this.#storage.close();
        // Those of this publisher and of any that was killed: the lock says that nobody else is alive.
        await this.#storage.removeTemporaryFiles();
      } finally {
        release();
      }
    }
  }
}

interface StoredTree {
  readonly root: TreeNode;
  readonly emptyFile: StoredContent;
  readonly entries: number;
  readonly fileBytes: number;
  readonly newObjects: number;
  readonly newBytes: number;
}

interface OpenCatalog {
  readonly hash: ContentHash;
  readonly sizeBytes: number;
  readonly reader: CatalogReader;
}
