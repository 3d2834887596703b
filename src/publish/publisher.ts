/**
 * Changes what a repository has: a tree becomes its next revision, tags come and go. Order is everything: contents, catalogs from the leaves up,
 * history, then all of it to the disk, then the reference log, and last the manifest, in one rename. Whatever happens
 * before that rename, readers have the old revision, whole.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Selection } from '../client/repository.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { entriesOf } from '../core/catalog/counters.ts';
import { algorithmOf, type ContentHash, hashBytes, NULL_HASH, objectPath } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import {
  decodeHistory,
  findTag,
  findTagByDate,
  type History,
  MAX_HISTORY_BYTES,
  type Tag,
  TRUNK_PREVIOUS,
} from '../core/history.ts';
import {
  formatManifest,
  MANIFEST_PATH,
  type Manifest,
  parseManifest,
  type SignedManifest,
} from '../core/manifest.ts';
import type { Clock, Hashing, Inflating, Signatures } from '../core/ports.ts';
import { REFLOG_PATH, type ReferenceType } from '../core/reflog.ts';
import { formatSignedText } from '../core/signed-text.ts';
import type { Tree } from '../core/tree.ts';
import { verifyManifestSignature } from '../core/trust.ts';
import { takeLock } from '../storage/lock.ts';
import { openStorage } from '../storage/open-storage.ts';
import { encodeReflog } from '../storage/reflog-writer.ts';
import type { Storage, StorageLocation } from '../storage/storage.ts';
import { type StoredCatalogFile, StoredObjects } from '../storage/stored-objects.ts';
import { type CatalogPlan, planCatalogs } from './catalog-plan.ts';
import { catalogContents, hasContents, type StoredCatalog } from './catalog-rows.ts';
import { encodeCatalog, renewCatalog } from './catalog-writer.ts';
import { ContentStore, type StoredContent } from './content-store.ts';
import {
  checkNewTag,
  encodeHistory,
  historyAfterRollback,
  historyWithout,
  historyWithRevision,
  type TagHead,
} from './history-writer.ts';
import { type RepositoryKeys, signManifest } from './keys.ts';
import type { RepositorySettings } from './repository-settings.ts';
import { type StoredTree, type StoreTreeOptions, storeTree } from './store-tree.ts';
import { TreeIndex } from './tree-index.ts';

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

export interface PublishOptions extends StoreTreeOptions {
  readonly tag?: { readonly name: string; readonly description: string } | undefined;
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

export interface RollbackResult {
  readonly revision: number;
  readonly rootCatalog: ContentHash;
  /** What was rolled back to, as it was. */
  readonly target: Tag;
  readonly removedTags: readonly string[];
}

export class Publisher {
  readonly #target: PublishTarget;
  readonly #ports: PublisherPorts;
  readonly #location: StorageLocation;
  readonly #storage: Storage;
  readonly #objects: StoredObjects;
  readonly #metadata: ContentStore;
  readonly #scratch: string;

  constructor(target: PublishTarget, ports: PublisherPorts) {
    this.#target = target;
    this.#ports = ports;
    this.#location = { kind: 'folder', path: target.settings.storage };
    this.#storage = openStorage(this.#location);
    this.#objects = new StoredObjects(this.#storage, ports);
    this.#metadata = new ContentStore(this.#storage, ports.hashing, target.settings);
    this.#scratch = join(target.folder, 'publish.db');
  }

  /** Makes the tree the newest revision. Throws; then the storage is at the revision it had. */
  async publish(tree: Tree, options: PublishOptions = {}): Promise<PublishResult> {
    return this.#change(async (current, history) => {
      // Before hours of work, not after.
      if (options.tag !== undefined) checkNewTag(history, options.tag.name);
      const emptyFile = await this.#storeEmptyFile();
      const stored = await storeTree(tree, this.#location, this.#target.settings, options);
      return this.#commit(current, history, { ...stored, emptyFile }, options);
    });
  }

  /** Gives a published snapshot a further name; revision and catalogs stay. Throws USAGE, CONFLICT, NOT_FOUND. */
  async addTag(
    tag: { readonly name: string; readonly description: string },
    { rootHash, tag: name, dateSeconds }: Selection = {},
  ): Promise<Tag> {
    return this.#change(async (current, history) => {
      checkNewTag(history, tag.name);
      let hash = rootHash ?? current.rootCatalog;
      if (name !== undefined) hash = findTag(history, name).rootCatalog;
      if (dateSeconds !== undefined) hash = findTagByDate(history, dateSeconds).rootCatalog;
      if ((await this.#storage.size(objectPath(hash, 'C'))) === undefined) {
        throw new ThimbleError(
          'NOT_FOUND',
          `Cannot add tag ${tag.name}: there is no catalog ${hash} in ${this.#storage.name}`,
        );
      }
      const added = { ...tag, ...headOf(await this.#objects.openCatalog(hash)), branch: '' };
      await this.#publishTags({ ...current, publishedSeconds: this.#nowSeconds(current) }, [
        ...history.tags,
        added,
      ]);
      return added;
    });
  }

  /** Takes names away; the snapshots stay. All of them or none. Throws USAGE, NOT_FOUND. */
  async removeTags(names: readonly string[]): Promise<readonly Tag[]> {
    return this.#change(async (current, history) => {
      const { removed, kept } = historyWithout(history, names);
      await this.#publishTags({ ...current, publishedSeconds: this.#nowSeconds(current) }, kept);
      return removed;
    });
  }

  /** Publishes the tree of an older tag as the next revision. Throws NOT_FOUND, CONFLICT. */
  async rollback(name: string = TRUNK_PREVIOUS): Promise<RollbackResult> {
    return this.#change(async (current, history) => {
      const target = findTag(history, name);
      if (target.revision >= current.revision) {
        throw new ThimbleError('CONFLICT', `Cannot roll back to ${name}: it is the newest revision already`);
      }
      const nowSeconds = this.#nowSeconds(current);
      const old = await this.#objects.openCatalog(target.rootCatalog);
      const revision = current.revision + 1;
      const bytes = renewCatalog(
        old.bytes,
        {
          revision,
          lastModifiedSeconds: nowSeconds,
          previousRevision: current.rootCatalog,
          ttlSeconds: this.#target.settings.ttlSeconds,
        },
        this.#scratch,
      );
      const rootCatalog = await this.#metadata.putMetadata('C', bytes);
      const root = { rootCatalog, rootCatalogSizeBytes: bytes.length, revision };
      const { tags, removed } = historyAfterRollback(history, target, {
        ...root,
        timestampSeconds: nowSeconds,
      });
      await this.#publishTags({ ...current, ...root, publishedSeconds: nowSeconds }, tags);
      return { revision, rootCatalog, target, removedTags: removed.map((tag) => tag.name) };
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

  async #storeEmptyFile(): Promise<StoredContent> {
    return { sizeBytes: 0, hash: await this.#metadata.putContent('', new Uint8Array(0)), chunks: [] };
  }

  // ---- catalogs and signature ----

  async #commit(
    current: Manifest,
    history: History,
    tree: StoredTree & { readonly emptyFile: StoredContent },
    options: PublishOptions,
  ): Promise<PublishResult> {
    const { settings } = this.#target;
    const plan = planCatalogs(tree.root, settings.catalogs, tree.emptyFile);
    const previous =
      current.rootCatalog === NULL_HASH ? undefined : await this.#objects.openCatalog(current.rootCatalog);
    const nowSeconds = this.#nowSeconds(current);
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
      const { revision } = result;
      const head = { rootCatalog: root.hash, rootCatalogSizeBytes: root.sizeBytes, revision };
      const tags = historyWithRevision(history, { ...head, timestampSeconds: nowSeconds }, options.tag);
      await this.#publishTags({ ...current, ...head, publishedSeconds: nowSeconds }, tags);
    }
    const { newObjects, newBytes } = this.#metadata.counters;
    return { ...result, newObjects: tree.newObjects + newObjects, newBytes: tree.newBytes + newBytes };
  }

  /** Stores the catalogs of a plan, leaves first. One that exists with the same contents is used again. */
  async #storeCatalogs(
    plan: CatalogPlan,
    previous: StoredCatalogFile | undefined,
    rootRevision: number,
    nowSeconds: number,
  ): Promise<StoredCatalog> {
    const { settings } = this.#target;
    const { path } = plan.root;
    const known = new Map(previous?.reader.nested.map((reference) => [reference.path, reference]));
    const nested: StoredCatalog[] = [];
    for (const child of plan.nested) {
      const reference = known.get(child.root.path);
      const old = reference === undefined ? undefined : await this.#objects.openCatalog(reference.hash);
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

  /** What every change ends with: the tags, then a manifest that names them. */
  async #publishTags(manifest: Manifest, tags: readonly Tag[]): Promise<void> {
    const { settings, keys } = this.#target;
    const history = encodeHistory(settings.fqrn, tags, manifest.history, this.#scratch);
    await this.#sign({
      ...manifest,
      ttlSeconds: settings.ttlSeconds,
      certificate: await this.#metadata.putMetadata('X', keys.certificate),
      history: await this.#metadata.putMetadata('H', history),
    });
  }

  async #sign(manifest: Manifest): Promise<void> {
    const { settings, keys } = this.#target;
    const { hashing } = this.#ports;
    const added: { hash: ContentHash; type: ReferenceType }[] = [
      { hash: manifest.rootCatalog, type: 'catalog' },
    ];
    if (manifest.certificate !== undefined) added.push({ hash: manifest.certificate, type: 'certificate' });
    if (manifest.history !== undefined) added.push({ hash: manifest.history, type: 'history' });
    if (manifest.metainfo !== undefined) added.push({ hash: manifest.metainfo, type: 'metainfo' });
    const reflog = encodeReflog(
      settings.fqrn,
      await this.#storage.read(REFLOG_PATH),
      { added, timestampSeconds: manifest.publishedSeconds ?? 0 },
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
    return decodeHistory(await this.#objects.load(manifest.history, 'H', MAX_HISTORY_BYTES));
  }

  // ---- order ----

  /** Time does not go back, whatever the clock does. */
  #nowSeconds(current: Manifest): number {
    return Math.max(this.#ports.clock.unixSeconds(), current.publishedSeconds ?? 0);
  }

  /** Changes what is published now. */
  async #change<T>(action: (current: Manifest, history: History) => Promise<T>): Promise<T> {
    return this.#locked(async () => {
      const { manifest } = await this.#readManifest();
      return action(manifest, await this.#readHistory(manifest));
    });
  }

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

/** What a tag says of a root catalog. Throws USAGE for a nested one. */
function headOf({ hash, sizeBytes, reader }: StoredCatalogFile): TagHead {
  if (reader.rootPrefix !== '') {
    throw new ThimbleError(
      'USAGE',
      `Cannot add a tag to ${hash}: it is the catalog of ${displayBytes(reader.rootPrefix)}`,
    );
  }
  const property = (name: string) => Number(reader.properties.get(name as ByteString) ?? 0);
  return {
    rootCatalog: hash,
    rootCatalogSizeBytes: sizeBytes,
    revision: property('revision'),
    timestampSeconds: property('last_modified'),
  };
}
