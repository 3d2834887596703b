/**
 * Changes what a repository has: a tree becomes its next revision, tags come and go. Order is everything: contents,
 * catalogs from the leaves up, then what `repository-head.ts` does. Whatever happens before its last step, readers have the
 * old revision, whole.
 */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Selection } from '../client/repository.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { entriesOf } from '../core/catalog/counters.ts';
import { type ContentHash, NULL_HASH, objectPath } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import {
  emptyHistory,
  findTag,
  findTagByDate,
  type History,
  type Tag,
  TRUNK_PREVIOUS,
} from '../core/history.ts';
import type { Manifest } from '../core/manifest.ts';
import type { Clock, Hashing, Inflating, Signatures } from '../core/ports.ts';
import type { Tree, TreeChange, TreeChanges } from '../core/tree.ts';
import { S_IFDIR } from '../core/vfs.ts';
import { takeLock } from '../storage/lock.ts';
import { openStorage } from '../storage/open-storage.ts';
import type { Storage, StorageLocation } from '../storage/storage.ts';
import { storageLocation } from '../storage/storage-location.ts';
import { type StoredCatalogFile, StoredObjects } from '../storage/stored-objects.ts';
import { isUsed, planCatalogs } from './catalog-plan.ts';
import { renewCatalog } from './catalog-writer.ts';
import { ContentStore, type StoredContent } from './content-store.ts';
import { applyDirtab } from './dirtab.ts';
import { DraftTree } from './draft-tree.ts';
import {
  automaticTag,
  checkNewTag,
  historyAfterRollback,
  historyWithout,
  historyWithRevision,
  type NewTag,
  type TagHead,
  tagsWithTrunkAt,
  withoutOldTags,
} from './history-writer.ts';
import type { RepositoryKeys } from './keys.ts';
import { PublishedCatalogs } from './published-catalogs.ts';
import { type Head, type HeadContext, readHead, replaceHead } from './repository-head.ts';
import type { RepositorySettings } from './repository-settings.ts';
import { type StoredCatalog, storeCatalogs } from './store-catalogs.ts';
import { type StoredTree, type StoreTreeOptions, storeTree } from './store-tree.ts';
import { entriesAsChanges, placeBelow } from './tree-changes.ts';
import { makeNode } from './tree-node.ts';
import { showSnapshots } from './virtual-directory.ts';

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
  readonly tag?: NewTag | undefined;
  /** Contents are not stored; clients fetch them by path from other servers. */
  readonly isExternal?: boolean;
  /** Told of the root catalog of a new revision before anybody can see it. */
  readonly beforeCommit?: (rootCatalog: ContentHash) => void;
}

export interface PublishTreeOptions extends PublishOptions {
  /** The directory that the tree becomes; the root unless it is given. */
  readonly into?: ByteString;
  /** What is published and not in the tree stays. */
  readonly keepsOthers?: boolean;
}

export interface PublishChangesOptions extends PublishOptions {
  /** The snapshot that the changes are made to: CONFLICT if another one is published. */
  readonly expectedRoot?: ContentHash;
}

export interface PublishResult {
  readonly revision: number;
  readonly rootCatalog: ContentHash;
  /** False if the tree is the one published last, and no tag was asked for. */
  readonly changed: boolean;
  readonly entries: number;
  readonly catalogs: number;
  /** Bytes read from the tree. */
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

const ROOT = '' as ByteString;
const SECONDS_PER_DAY = 24 * 3600;
const EMPTY = new Uint8Array(0);

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
    this.#location = storageLocation(target.settings.storage);
    this.#storage = openStorage(this.#location);
    this.#objects = new StoredObjects(this.#storage, ports);
    this.#metadata = new ContentStore(this.#storage, ports.hashing, target.settings);
    this.#scratch = join(target.folder, 'publish.db');
  }

  /** Makes the tree the newest revision. Throws; then the storage is at the revision it had. */
  async publish(tree: Tree, options: PublishTreeOptions = {}): Promise<PublishResult> {
    const { into = ROOT, keepsOthers = false } = options;
    // A tree remembers contents, and not how they were to be published.
    const isPlain = options.isExternal !== true && options.isDirectIo !== true;
    return this.#change(async (head) => {
      const since = isPlain && !keepsOthers ? tree.changesSince?.(head.manifest.rootCatalog) : undefined;
      const whole = since === undefined && !keepsOthers ? into : undefined;
      const changes = placeBelow(into, since ?? entriesAsChanges(tree));
      const result = await this.#publishChanges(head, changes, options, whole);
      if (isPlain && !keepsOthers) tree.remember?.(result.rootCatalog);
      return result;
    });
  }

  /** Makes the newest revision from what is published and changes to it. Throws as `publish` does, and CONFLICT. */
  async publishChanges(
    changes: TreeChanges,
    { expectedRoot, ...options }: PublishChangesOptions = {},
  ): Promise<PublishResult> {
    return this.#change(async (head) => {
      const { rootCatalog, revision } = head.manifest;
      if (expectedRoot !== undefined && rootCatalog !== expectedRoot) {
        throw new ThimbleError(
          'CONFLICT',
          `Cannot publish ${changes.name}: revision ${revision} came in between`,
          {
            hint: 'make the changes again, to the newest revision',
          },
        );
      }
      return this.#publishChanges(head, changes.changes(), options, undefined);
    });
  }

  /** Gives a published snapshot a further name; revision and catalogs stay. Throws USAGE, CONFLICT, NOT_FOUND. */
  async addTag(tag: NewTag, { rootHash, tag: name, dateSeconds }: Selection = {}): Promise<Tag> {
    return this.#change(async ({ manifest, history }) => {
      checkNewTag(history, tag.name);
      let hash = rootHash ?? manifest.rootCatalog;
      if (name !== undefined) hash = findTag(history, name).rootCatalog;
      if (dateSeconds !== undefined) hash = findTagByDate(history, dateSeconds).rootCatalog;
      if ((await this.#storage.size(objectPath(hash, 'C'))) === undefined) {
        throw new ThimbleError(
          'NOT_FOUND',
          `Cannot add tag ${tag.name}: there is no catalog ${hash} in ${this.#storage.name}`,
        );
      }
      const added = { ...tag, ...headOf(await this.#objects.openCatalog(hash)), branch: '' };
      await this.#replaceTags(manifest, { ...history, tags: [...history.tags, added] });
      return added;
    });
  }

  /** Takes names away; the snapshots stay. All of them or none. Throws USAGE, NOT_FOUND. */
  async removeTags(names: readonly string[]): Promise<readonly Tag[]> {
    return this.#change(async ({ manifest, history }) => {
      const { removed, kept } = historyWithout(history, names);
      await this.#replaceTags(manifest, { ...history, tags: kept });
      return removed;
    });
  }

  /** Publishes the tree of an older tag as the next revision. Throws NOT_FOUND, CONFLICT. */
  async rollback(name: string = TRUNK_PREVIOUS): Promise<RollbackResult> {
    return this.#change(async ({ manifest, history }) => {
      const target = findTag(history, name);
      if (target.revision >= manifest.revision) {
        throw new ThimbleError('CONFLICT', `Cannot roll back to ${name}: it is the newest revision already`);
      }
      const nowSeconds = this.#nowSeconds(manifest);
      const old = await this.#objects.openCatalog(target.rootCatalog);
      const revision = manifest.revision + 1;
      const bytes = renewCatalog(
        old.bytes,
        {
          revision,
          lastModifiedSeconds: nowSeconds,
          previousRevision: manifest.rootCatalog,
          ttlSeconds: this.#target.settings.ttlSeconds,
        },
        this.#scratch,
      );
      const rootCatalog = await this.#metadata.putMetadata('C', bytes);
      const root = { rootCatalog, rootCatalogSizeBytes: bytes.length, revision };
      const head = { ...root, timestampSeconds: nowSeconds };
      const { tags, removed } = historyAfterRollback(history, target, head);
      const released = await this.#release(manifest, { ...history, tags }, head);
      return { ...released, target, removedTags: removed.map((tag) => tag.name) };
    });
  }

  /** The first revision of a new repository: an empty directory. */
  async publishFirst(metainfo: Uint8Array): Promise<PublishResult> {
    return this.#locked(async () => {
      const { settings } = this.#target;
      const manifest: Manifest = {
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
        metainfo: await this.#metadata.putAsReference('M', metainfo),
        reflog: undefined,
      };
      const root = makeNode(ROOT, {
        mode: S_IFDIR | 0o755,
        uid: 0,
        gid: 0,
        mtimeSeconds: this.#ports.clock.unixSeconds(),
        mtimeNs: 0,
        symlink: ROOT,
        rdev: 0,
        xattrs: new Map(),
      });
      const draft = new DraftTree(root, new PublishedCatalogs(this.#objects, this.#ports.hashing), undefined);
      const stored = { entries: 1, fileBytes: 0, newObjects: 0, newBytes: 0 };
      return this.#commit({ manifest, history: emptyHistory(settings.fqrn) }, draft, stored, {});
    });
  }

  // ---- from changes to a signed revision ----

  /** `whole`: the directory that the changes are all of; undefined where they leave the rest as it is. */
  async #publishChanges(
    head: Head,
    changes: AsyncIterable<TreeChange>,
    options: PublishOptions,
    whole: ByteString | undefined,
  ): Promise<PublishResult> {
    // Before hours of work, not after.
    if (options.tag !== undefined) checkNewTag(head.history, options.tag.name);
    const published = new PublishedCatalogs(this.#objects, this.#ports.hashing);
    const draft = new DraftTree(await published.openRoot(head.manifest.rootCatalog), published, whole);
    const settings = { ...this.#target.settings, isExternal: options.isExternal === true };
    const stored = await storeTree(draft, changes, this.#location, settings, options);
    if (whole !== undefined) await draft.removeUnseen(whole);
    return this.#commit(head, draft, stored, options);
  }

  async #commit(
    { manifest, history }: Head,
    draft: DraftTree,
    stored: StoredTree,
    options: PublishOptions,
  ): Promise<PublishResult> {
    const emptyFile = this.#metadata.describe(EMPTY);
    await applyDirtab(draft, this.#objects, emptyFile);
    const nowSeconds = this.#nowSeconds(manifest);
    const root = await this.#storeCatalogs(draft, emptyFile, manifest.revision + 1, nowSeconds);
    const isSame = root.hash === manifest.rootCatalog;
    if (isSame && options.tag === undefined) {
      return { ...revisionOf(manifest), changed: false, ...this.#counted(root, stored) };
    }
    options.onProgress?.({
      phase: 'signing',
      entries: stored.entries,
      files: 0,
      readBytes: stored.fileBytes,
    });
    const head = {
      rootCatalog: root.hash,
      rootCatalogSizeBytes: root.sizeBytes,
      revision: isSame ? manifest.revision : manifest.revision + 1,
      timestampSeconds: nowSeconds,
    };
    const isFirst = manifest.rootCatalog === NULL_HASH;
    const { kept, tag } = isFirst
      ? { kept: history, tag: undefined }
      : this.#automaticTags(history, nowSeconds, options.tag);
    const next = { ...kept, tags: historyWithRevision(kept, head, tag) };
    const released = await this.#release(manifest, next, head, options.beforeCommit);
    return { ...released, changed: true, ...this.#counted(root, stored) };
  }

  /** The tag of a new revision, and the history without what is too old. */
  #automaticTags(
    history: History,
    nowSeconds: number,
    tag: NewTag | undefined,
  ): { readonly kept: History; readonly tag: NewTag | undefined } {
    const { automaticTags } = this.#target.settings;
    if (automaticTags === undefined) return { kept: history, tag };
    const kept = withoutOldTags(history, nowSeconds - automaticTags.keepDays * SECONDS_PER_DAY);
    return { kept, tag: tag ?? automaticTag(kept, nowSeconds) };
  }

  /** Signs a revision. With a virtual directory, one more follows at once, which shows the snapshots that have names now. */
  async #release(
    manifest: Manifest,
    history: History,
    head: TagHead,
    beforeCommit?: PublishOptions['beforeCommit'],
  ): Promise<Pick<PublishResult, 'revision' | 'rootCatalog'>> {
    const shown = await this.#withSnapshots(head, history.tags);
    const { timestampSeconds: publishedSeconds, ...root } = shown;
    const tags = shown === head ? history.tags : tagsWithTrunkAt(history.tags, shown);
    beforeCommit?.(root.rootCatalog);
    await replaceHead(
      this.#context(),
      { manifest: { ...manifest, ...root, publishedSeconds }, history: { ...history, tags } },
      shown === head ? [] : [head.rootCatalog],
    );
    return revisionOf(root);
  }

  async #withSnapshots(head: TagHead, tags: readonly Tag[]): Promise<TagHead> {
    if (!this.#target.settings.virtualDirectory) return head;
    const published = new PublishedCatalogs(this.#objects, this.#ports.hashing);
    const draft = new DraftTree(await published.openRoot(head.rootCatalog), published, undefined);
    const emptyFile = this.#metadata.describe(EMPTY);
    if (!(await showSnapshots(draft, tags, emptyFile, head.timestampSeconds))) return head;
    const revision = head.revision + 1;
    const root = await this.#storeCatalogs(draft, emptyFile, revision, head.timestampSeconds);
    return { ...head, rootCatalog: root.hash, rootCatalogSizeBytes: root.sizeBytes, revision };
  }

  async #storeCatalogs(
    draft: DraftTree,
    emptyFile: StoredContent,
    revision: number,
    nowSeconds: number,
  ): Promise<StoredCatalog> {
    const { catalogs, ttlSeconds } = this.#target.settings;
    draft.complete();
    const plan = planCatalogs(draft.root, catalogs, emptyFile);
    // Of the markers that this publisher put into directories.
    if (isUsed(emptyFile, plan)) await this.#metadata.putContent('', EMPTY);
    return storeCatalogs(plan, {
      published: draft.published,
      store: this.#metadata,
      hashing: this.#ports.hashing,
      revision,
      nowSeconds,
      ttlSeconds,
      scratch: this.#scratch,
    });
  }

  #counted({ counters }: StoredCatalog, { fileBytes, newObjects, newBytes }: StoredTree) {
    const metadata = this.#metadata.counters;
    return {
      entries: entriesOf(counters),
      catalogs: 1 + counters.self.nested + counters.subtree.nested,
      fileBytes,
      newObjects: newObjects + metadata.newObjects,
      newBytes: newBytes + metadata.newBytes,
    };
  }

  #context(): HeadContext {
    const { settings, keys } = this.#target;
    const { hashing, signatures } = this.#ports;
    return {
      settings,
      keys,
      objects: this.#objects,
      metadata: this.#metadata,
      hashing,
      signatures,
      scratch: this.#scratch,
    };
  }

  async #replaceTags(manifest: Manifest, history: History): Promise<void> {
    const { rootCatalog, rootCatalogSizeBytes, revision } = manifest;
    const timestampSeconds = this.#nowSeconds(manifest);
    await this.#release(manifest, history, { rootCatalog, rootCatalogSizeBytes, revision, timestampSeconds });
  }

  // ---- order ----

  /** Time does not go back, whatever the clock does. */
  #nowSeconds(current: Manifest): number {
    return Math.max(this.#ports.clock.unixSeconds(), current.publishedSeconds ?? 0);
  }

  /** Changes what is published now. */
  async #change<T>(action: (head: Head) => Promise<T>): Promise<T> {
    return this.#locked(async () => action(await readHead(this.#context())));
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

function revisionOf({ revision, rootCatalog }: Pick<PublishResult, 'revision' | 'rootCatalog'>) {
  return { revision, rootCatalog };
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
