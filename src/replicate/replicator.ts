/**
 * Makes a storage a copy of a repository, as it is: objects stay compressed, signatures stay those of the publisher. So
 * a replica can be made from any replica, and nobody has to trust it.
 *
 * Data comes before the catalogs that name it, and the manifest last: readers see the old snapshot or the new one, whole.
 * A replication that is killed at any moment goes on where it was; what it brought stays.
 */

import type { Repository, VerifiedManifest } from '../client/repository.ts';
import { equalBytes } from '../core/bytes/byte-string.ts';
import { encodeUtf8 } from '../core/bytes/utf8.ts';
import { MAX_CERTIFICATE_BYTES } from '../core/certificate.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import { decodeHistory, MAX_HISTORY_BYTES, type Tag } from '../core/history.ts';
import { MANIFEST_PATH, type Manifest, parseManifest } from '../core/manifest.ts';
import type { Clock, Hashing, Inflating } from '../core/ports.ts';
import { decodeProfileIndex, MAX_PROFILE_INDEX_BYTES } from '../core/profile-index.ts';
import { MAX_PROFILE_TABLE_BYTES } from '../core/profile-table.ts';
import { OBJECT_TYPE_OF, REFLOG_PATH, type ReferenceType } from '../core/reflog.ts';
import { WHITELIST_PATH } from '../core/whitelist.ts';
import { encodeReflog } from '../storage/reflog-writer.ts';
import { formatStatusTime, updateStatus } from '../storage/status-file.ts';
import type { Storage } from '../storage/storage.ts';
import { StoredObjects } from '../storage/stored-objects.ts';
import { IncompleteCatalogs } from './incomplete-catalogs.ts';
import { ObjectTransfer, type TransferCounters } from './object-transfer.ts';
import type { PathFilter } from './path-filter.ts';
import { type TreeRoot, TreeTransfer } from './tree-transfer.ts';

/** There while a replication runs, and after one that was killed. */
export const UNDER_WAY_PATH = '.cvmfs_is_snapshotting';
export const LAST_SNAPSHOT_PATH = '.cvmfs_last_snapshot';
/** Says that a repository may be replicated. */
export const REPLICABLE_PATH = '.cvmfs_master_replica';
/** Says that a replica is partial, and what it has. */
export const PARTIAL_PATH = '.cvmfs_partial_replication';

const MAX_METAINFO_BYTES = 1024 * 1024;
/** How often a source may change under the hands of one run. */
const MAX_RESTARTS = 3;

/** Where a replica comes from. */
export type ReplicationSource = Pick<Repository, 'fqrn' | 'servers' | 'fetchVerifiedManifest'>;

export interface ReplicatorPorts {
  readonly hashing: Hashing;
  readonly inflating: Inflating;
  readonly clock: Clock;
}

export interface ReplicateOptions {
  /** Requests at a time. */
  readonly parallel: number;
  /** The snapshots of all tags too. */
  readonly withTags?: boolean;
  /** How many revisions before the newest are wanted too. */
  readonly previousRevisions?: number;
  /** What of the tree is wanted; everything where it is missing. */
  readonly filter?: PathFilter | undefined;
  /** Replaces a newer snapshot too. */
  readonly allowOlder?: boolean;
  /** A path that may be used for a moment. */
  readonly temporary: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: ReplicationProgress) => void;
}

export interface ReplicationProgress extends Readonly<TransferCounters> {
  readonly catalogs: number;
  /** Objects that are known to be wanted and were not looked at yet. */
  readonly waiting: number;
}

export interface SkippedSnapshot {
  readonly rootCatalog: ContentHash;
  readonly tags: readonly string[];
  readonly reason: string;
}

export interface ReplicationReport {
  readonly fqrn: string;
  readonly rootCatalog: ContentHash;
  readonly revision: number;
  /** What the storage had before; `null` if nothing. */
  readonly formerRevision: number | null;
  /** Snapshots that the replica has now, as far as this run was asked for them. */
  readonly snapshots: number;
  /** Those that the source does not have any more. */
  readonly skipped: readonly SkippedSnapshot[];
  /** Brought here, those of the next line included. */
  readonly objects: number;
  readonly catalogs: number;
  /** Of all objects brought here, as stored. */
  readonly bytes: number;
  readonly isPartial: boolean;
  readonly ttlSeconds: number;
}

export class Replicator {
  readonly #source: ReplicationSource;
  readonly #storage: Storage;
  readonly #ports: ReplicatorPorts;
  readonly #options: ReplicateOptions;

  /** Nobody else may write to the storage as long as `run` does. */
  constructor(
    source: ReplicationSource,
    storage: Storage,
    ports: ReplicatorPorts,
    options: ReplicateOptions,
  ) {
    this.#source = source;
    this.#storage = storage;
    this.#ports = ports;
    this.#options = options;
  }

  /**
   * Brings the newest snapshot here. Throws what `Repository.fetchManifest` throws about trust and network; NOT_FOUND for an
   * object that no server has; INTEGRITY for one that all have damaged; CONFLICT where the storage has a newer snapshot, or
   * another repository; UNSUPPORTED for a source that is not to be replicated; STORAGE, CANCELLED.
   */
  async run(): Promise<ReplicationReport> {
    const manifest = await this.#fetchManifest();
    const storage = this.#storage;
    await storage.create();
    await storage.removeTemporaryFiles();
    const isDistrustful = (await storage.size(UNDER_WAY_PATH)) !== undefined;
    const { hashing, clock } = this.#ports;
    const { signal } = this.#options;
    const objects = new ObjectTransfer(this.#source.servers, storage, { hashing, isDistrustful, signal });
    try {
      await storage.replace(UNDER_WAY_PATH, encodeUtf8(`${formatStatusTime(clock.unixSeconds())}\n`));
      const report = await this.#runToEnd(objects, manifest);
      await this.#end(objects);
      return report;
    } catch (error) {
      // Where not even this works, the next run looks closer, as after one that was killed.
      await this.#end(objects).catch(() => {});
      throw error;
    } finally {
      await storage.close();
    }
  }

  /** What was brought here is safe, and the next run may believe it. */
  async #end(objects: ObjectTransfer): Promise<void> {
    await objects.flush();
    await this.#storage.remove([UNDER_WAY_PATH]);
  }

  /** Begins again if the source goes on to another snapshot and drops what was being fetched. */
  async #runToEnd(objects: ObjectTransfer, first: VerifiedManifest): Promise<ReplicationReport> {
    let verified = first;
    for (let restarts = 0; ; restarts++) {
      try {
        return await this.#replicate(objects, verified);
      } catch (error) {
        if (errorCodeOf(error) !== 'NOT_FOUND' || restarts === MAX_RESTARTS) throw error;
        const newer = await this.#fetchManifest();
        if (equalBytes(newer.bytes, verified.bytes)) throw error;
        verified = newer;
      }
    }
  }

  async #fetchManifest(): Promise<VerifiedManifest> {
    const verified = await this.#source.fetchVerifiedManifest();
    try {
      await this.#source.servers.probe(REPLICABLE_PATH);
    } catch (error) {
      if (errorCodeOf(error) !== 'NOT_FOUND') throw error;
      throw new ThimbleError(
        'UNSUPPORTED',
        `Cannot replicate ${this.#source.fqrn}: it is not offered for that`,
        {
          hint: `its owner allows it by an empty file ${REPLICABLE_PATH} beside ${MANIFEST_PATH}`,
          cause: error,
        },
      );
    }
    return verified;
  }

  async #replicate(objects: ObjectTransfer, verified: VerifiedManifest): Promise<ReplicationReport> {
    const { manifest } = verified;
    const former = await this.#former();
    this.#refuseBackwards(former, manifest);
    const { filter } = this.#options;
    if (filter !== undefined) await this.#replaceIfOther(PARTIAL_PATH, encodeUtf8(filter.text));
    const tags = await this.#bringMetadata(objects, manifest);
    const incomplete = await IncompleteCatalogs.open(this.#storage, filter, this.#ports.hashing);
    const trees = this.#treeTransfer(objects, incomplete, manifest);
    const { roots, missing } = await trees.transfer(this.#roots(manifest, tags));
    await objects.flush();
    await incomplete.save();
    await this.#writeFiles(verified, roots);
    if (filter === undefined) await this.#storage.remove([PARTIAL_PATH]);
    return {
      fqrn: manifest.fqrn,
      rootCatalog: manifest.rootCatalog,
      revision: manifest.revision,
      formerRevision: former?.revision ?? null,
      snapshots: new Set(roots).size,
      skipped: Array.from(missing, ([rootCatalog, reason]) => ({
        rootCatalog,
        tags: tags.filter((tag) => tag.rootCatalog === rootCatalog).map(({ name }) => name),
        reason: messageOf(reason),
      })),
      objects: objects.counters.objects,
      catalogs: trees.catalogs,
      bytes: objects.counters.bytes,
      isPartial: filter !== undefined,
      ttlSeconds: manifest.ttlSeconds,
    };
  }

  /** The snapshot that readers of the storage see now. Throws FORMAT, INTEGRITY, STORAGE. */
  async #former(): Promise<Manifest | undefined> {
    const bytes = await this.#storage.read(MANIFEST_PATH);
    return bytes === undefined ? undefined : parseManifest(this.#ports.hashing, bytes).manifest;
  }

  #refuseBackwards(former: Manifest | undefined, { fqrn, revision, rootCatalog }: Manifest): void {
    if (former === undefined) return;
    const { name } = this.#storage;
    if (former.fqrn !== fqrn) {
      throw new ThimbleError('CONFLICT', `Cannot replicate ${fqrn} to ${name}: it has ${former.fqrn}`);
    }
    const isOlder =
      revision < former.revision || (revision === former.revision && rootCatalog !== former.rootCatalog);
    if (!isOlder || this.#options.allowOlder) return;
    const what = revision < former.revision ? `revision ${revision}` : `another revision ${revision}`;
    throw new ThimbleError(
      'CONFLICT',
      `Cannot replicate ${fqrn}: the source has ${what}, the replica revision ${former.revision} already`,
      { hint: 'the source lags behind, or was made anew; --allow-older takes its snapshot all the same' },
    );
  }

  /** What the manifest names besides the tree. Answers with the tags that are wanted. */
  async #bringMetadata(objects: ObjectTransfer, manifest: Manifest): Promise<readonly Tag[]> {
    const { certificate, history, metainfo } = manifest;
    if (metainfo !== undefined) await objects.bring(metainfo, 'M', MAX_METAINFO_BYTES);
    if (history !== undefined) await objects.bring(history, 'H', MAX_HISTORY_BYTES);
    if (certificate !== undefined) await objects.bring(certificate, 'X', MAX_CERTIFICATE_BYTES);
    await this.#bringProfiles(objects, manifest);
    if (!this.#options.withTags) return [];
    if (history === undefined) return [];
    const stored = new StoredObjects(this.#storage, this.#ports);
    return decodeHistory(await stored.load(history, 'H', MAX_HISTORY_BYTES)).tags;
  }

  /** A source that was made by other software lacks them, and readers do without. */
  async #bringProfiles(objects: ObjectTransfer, { profiles }: Manifest): Promise<void> {
    if (profiles === undefined) return;
    try {
      await objects.bring(profiles, '', MAX_PROFILE_INDEX_BYTES);
      const stored = new StoredObjects(this.#storage, this.#ports);
      const index = decodeProfileIndex(await stored.load(profiles, '', MAX_PROFILE_INDEX_BYTES));
      for (const { table, packs } of index.profiles) {
        await objects.bring(table, '', MAX_PROFILE_TABLE_BYTES);
        for (const { hash, sizeBytes } of packs) await objects.bring(hash, '', sizeBytes);
      }
    } catch (error) {
      // Those of a later version are for whoever can read them.
      if (!['NOT_FOUND', 'UNSUPPORTED'].includes(errorCodeOf(error))) throw error;
    }
  }

  /** The newest first. */
  #roots({ rootCatalog, garbageCollectable }: Manifest, tags: readonly Tag[]): TreeRoot[] {
    const past = new Set(tags.map((tag) => tag.rootCatalog));
    past.delete(rootCatalog);
    return [
      { hash: rootCatalog, mayBeMissing: false, previous: this.#options.previousRevisions ?? 0 },
      ...Array.from(past, (hash) => ({ hash, mayBeMissing: garbageCollectable, previous: 0 })),
    ];
  }

  #treeTransfer(
    objects: ObjectTransfer,
    incomplete: IncompleteCatalogs,
    { garbageCollectable }: Manifest,
  ): TreeTransfer {
    const { parallel, filter, onProgress } = this.#options;
    const trees: TreeTransfer = new TreeTransfer(objects, incomplete, {
      inflating: this.#ports.inflating,
      parallel,
      filter,
      // A source without garbage collection has no reason to lack anything.
      mayMissPast: garbageCollectable,
      onProgress: () =>
        onProgress?.({ ...objects.counters, catalogs: trees.catalogs, waiting: trees.waiting }),
    });
    return trees;
  }

  /** The files that change; the manifest is the last that readers go by. */
  async #writeFiles({ manifest, bytes, whitelist }: VerifiedManifest, roots: readonly ContentHash[]) {
    const { certificate, history, metainfo } = manifest;
    const nowSeconds = this.#ports.clock.unixSeconds();
    const references: [ReferenceType, ContentHash | undefined][] = [
      ...roots.map((hash): [ReferenceType, ContentHash] => ['catalog', hash]),
      ['certificate', certificate],
      ['history', history],
      ['metainfo', metainfo],
    ];
    const added = references.flatMap(([type, hash]) => (hash === undefined ? [] : [{ type, hash }]));
    const reflog = await this.#storage.read(REFLOG_PATH);
    const change = { added, timestampSeconds: nowSeconds };
    await this.#replaceIfOther(
      REFLOG_PATH,
      encodeReflog(manifest.fqrn, reflog, change, this.#options.temporary),
    );
    if (manifest.hasAlternativePaths) {
      const newest = added.filter(({ type, hash }) => type !== 'catalog' || hash === manifest.rootCatalog);
      for (const { type, hash } of newest) await this.#writeAlternative(type, hash);
    }
    await this.#replaceIfOther(REPLICABLE_PATH, new Uint8Array(0));
    await this.#replaceIfOther(WHITELIST_PATH, whitelist);
    await this.#replaceIfOther(MANIFEST_PATH, bytes);
    const date = formatStatusTime(nowSeconds);
    await updateStatus(this.#storage, { last_snapshot: date });
    await this.#storage.replace(LAST_SNAPSHOT_PATH, encodeUtf8(`${date}\n`));
  }

  /** A second path for what readers need first. The publisher has links; a copy serves them as well, on any storage. */
  async #writeAlternative(type: ReferenceType, hash: ContentHash): Promise<void> {
    const path = `.cvmfsalt-${hash}${OBJECT_TYPE_OF[type]}`;
    if ((await this.#storage.size(path)) !== undefined) return;
    await this.#storage.replace(path, (await this.#storage.read(objectPath(hash, OBJECT_TYPE_OF[type])))!);
  }

  async #replaceIfOther(path: string, bytes: Uint8Array): Promise<void> {
    const present = await this.#storage.read(path);
    if (present === undefined || !equalBytes(present, bytes)) await this.#storage.replace(path, bytes);
  }
}
