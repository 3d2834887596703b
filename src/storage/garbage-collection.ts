/**
 * Garbage collection: deletes what no snapshot that is kept needs (docs/manual/garbage-collection.md). Works on the storage
 * of a publisher as on that of a replica; nothing is signed.
 *
 * What stays is found anew in every run, from the manifest, under the lock that publishing takes: so it does not matter what
 * an earlier run thought of an object that has come back into use. Between runs only this is remembered: since when a root
 * catalog, certificate or history is no longer needed (until the grace period is over, it still keeps all that is below it),
 * and, while deleting, the list of what is deleted. A run that was interrupted leaves that list, and the next one finishes it.
 * The list is complete before the reference log forgets what is on it, and that before anything is deleted.
 *
 * Catalogs go before what is below them. At any moment a catalog that is there is whole: replication relies on that.
 */

import { algorithmOf, type ContentHash, contentHashOf, digestOf, objectPath } from '../core/content-hash.ts';
import { errorCodeOf, ThimbleError } from '../core/errors.ts';
import { decodeHistory, MAX_HISTORY_BYTES, type Tag } from '../core/history.ts';
import { MANIFEST_PATH, type Manifest, parseManifest } from '../core/manifest.ts';
import type { Clock, Hashing, Inflating } from '../core/ports.ts';
import {
  decodeProfileIndex,
  MAX_PROFILE_INDEX_BYTES,
  objectsOfProfiles,
  type RetiredObject,
} from '../core/profile-index.ts';
import { decodeReflog, OBJECT_TYPE_OF, REFLOG_PATH, type Reference } from '../core/reflog.ts';
import type { RootFacts } from './catalog-references.ts';
import { GarbageState } from './garbage-state.ts';
import { takeLock } from './lock.ts';
import { MarkedObjects, unlessDamaged } from './marked-objects.ts';
import { type ObjectName, ObjectSet, parseObjectPath } from './object-set.ts';
import { findReferences } from './reflog-rebuild.ts';
import { encodeReflog } from './reflog-writer.ts';
import { formatStatusTime, updateStatus } from './status-file.ts';
import type { Storage } from './storage.ts';
import { StoredObjects } from './stored-objects.ts';
import { Sweep, type SweepCounts } from './sweep.ts';

/** Of replicas: one of them was there before the first catalog was. */
const REPLICA_PATHS: readonly string[] = ['.cvmfs_is_snapshotting', '.cvmfs_last_snapshot'];
export const DEFAULT_KEEP_DAYS = 3;
export const DEFAULT_GRACE_SECONDS = 86_400;

export interface GarbagePorts {
  readonly hashing: Hashing;
  readonly inflating: Inflating;
  readonly clock: Pick<Clock, 'unixSeconds'>;
}

export interface GarbageTarget {
  readonly fqrn: string;
  readonly storage: Storage;
  /** The lock file that everybody takes who changes this storage. */
  readonly lock: string;
  /** What the names of the files begin with that remember things until the next run. */
  readonly state: string;
}

export interface GarbageOptions {
  /** The revisions of this time stay, and the one that was the newest when it began. 3 unless `keepRevisions` is given. */
  readonly keepDays?: number | undefined;
  /** That many before the newest stay. With both, what either keeps. */
  readonly keepRevisions?: number | undefined;
  /** How long something is kept after the first run that found it to be needed no longer. */
  readonly graceSeconds?: number | undefined;
  /** Only tell. */
  readonly dryRun?: boolean | undefined;
  /** Also objects that nothing in the reference log leads to, if they are older than the grace period. */
  readonly unreferenced?: boolean | undefined;
  readonly rebuildReflog?: boolean | undefined;
  /** Also where the manifest says that nothing may be deleted. */
  readonly force?: boolean | undefined;
  readonly onProgress?: ((progress: GarbageProgress) => void) | undefined;
}

export interface GarbageProgress {
  readonly phase: 'reading' | 'listing' | 'deleting';
  readonly catalogs: number;
  /** Known by now; deleted by now. */
  readonly objects: number;
}

export interface GarbageReport {
  readonly fqrn: string;
  readonly dryRun: boolean;
  /** Root catalogs. */
  readonly revisions: { readonly kept: number; readonly waiting: number; readonly deleted: number };
  readonly deleted: SweepCounts;
  /** What is kept by nothing but the grace period. */
  readonly waiting: SweepCounts;
  /** When a run will find the next of it to delete, in seconds since 1970; `null` if nothing waits. */
  readonly nextSeconds: number | null;
  /** Catalogs of old revisions that are damaged: objects that only they name can be found with `unreferenced`. */
  readonly damagedCatalogs: number;
}

/**
 * Throws CONFLICT while somebody else changes the repository, UNSUPPORTED if its manifest forbids it. NOT_FOUND, INTEGRITY,
 * FORMAT, LIMIT: something that has to be kept cannot be read; then nothing has been deleted. STORAGE at any moment: the next
 * run goes on.
 */
export async function collectGarbage(
  target: GarbageTarget,
  ports: GarbagePorts,
  options: GarbageOptions = {},
): Promise<GarbageReport> {
  const { storage, lock, fqrn } = target;
  const release = takeLock(lock, fqrn);
  try {
    return await new GarbageCollection(target, ports, options).run();
  } finally {
    try {
      await storage.close();
      if (options.dryRun !== true) await storage.removeTemporaryFiles();
    } finally {
      release();
    }
  }
}

/** True for what replication has made. Throws STORAGE. */
export async function isReplica(storage: Storage): Promise<boolean> {
  return hasAny(storage, REPLICA_PATHS);
}

async function hasAny(storage: Storage, paths: readonly string[]): Promise<boolean> {
  const sizes = await Promise.all(paths.map((path) => storage.size(path)));
  return sizes.some((size) => size !== undefined);
}

interface Expired extends Reference {
  /** When a run first saw that it is needed no longer. */
  readonly expiredSeconds: number;
}

const DAY_SECONDS = 86_400;
/** Of replicas that lack catalogs on purpose. */
const PARTIAL_PATHS = ['.cvmfs_partial_replication', '.thimble_incomplete_catalogs'];

class GarbageCollection {
  readonly #target: GarbageTarget;
  readonly #storage: Storage;
  readonly #ports: GarbagePorts;
  readonly #options: GarbageOptions;
  readonly #objects: StoredObjects;
  readonly #state: GarbageState;
  readonly #marks: MarkedObjects;
  readonly #isDry: boolean;
  readonly #nowSeconds: number;
  /** What expired until then is deleted. */
  readonly #limitSeconds: number;
  readonly #keptRoots = new Set<ContentHash>();
  #retired: readonly RetiredObject[] = [];
  #catalogs = 0;

  constructor(target: GarbageTarget, ports: GarbagePorts, options: GarbageOptions) {
    this.#target = target;
    this.#storage = target.storage;
    this.#ports = ports;
    this.#options = options;
    this.#objects = new StoredObjects(target.storage, ports);
    this.#state = new GarbageState(target.state);
    this.#marks = new MarkedObjects(this.#objects, (objects) => {
      this.#catalogs++;
      this.#progress('reading', objects);
    });
    this.#isDry = options.dryRun ?? false;
    this.#nowSeconds = ports.clock.unixSeconds();
    this.#limitSeconds = this.#nowSeconds - (options.graceSeconds ?? DEFAULT_GRACE_SECONDS);
  }

  async run(): Promise<GarbageReport> {
    const manifest = await this.#readManifest();
    // Copies of repositories often lack folders that are empty.
    if (!this.#isDry) await this.#storage.create();
    const references = await this.#references(manifest);
    const oldestSeconds = await this.#keep(manifest, references);
    const expired = await this.#expired(manifest, references, oldestSeconds);
    const going = expired.filter((one) => one.expiredSeconds <= this.#limitSeconds);
    const waiting = expired.filter((one) => one.expiredSeconds > this.#limitSeconds);
    for (const { hash, type } of waiting) {
      if (type === 'catalog') await this.#marks.waitTree(hash);
      else this.#marks.wait(objectName(hash, type));
    }
    // What a run that was interrupted still had to delete, as far as it has not come back into use.
    for await (const path of this.#state.readCondemned()) await this.#condemn(parseObjectPath(path));
    for (const { hash, type } of going) await this.#condemn(objectName(hash, type));
    this.#condemnRetired();
    await this.#condemnStrays();
    const sweep = new Sweep(this.#storage, this.#isDry, (objects) => this.#progress('deleting', objects));
    const waitingSweep = new Sweep(this.#storage, true);
    await waitingSweep.run(this.#marks.waitingPaths());
    await this.#delete(sweep, manifest, references, { going, waiting });
    const roots = (list: readonly Reference[]) => list.filter(({ type }) => type === 'catalog').length;
    return {
      fqrn: manifest.fqrn,
      dryRun: this.#isDry,
      revisions: { kept: this.#keptRoots.size, waiting: roots(waiting), deleted: roots(going) },
      deleted: sweep.counts,
      waiting: waitingSweep.counts,
      nextSeconds: this.#nextSeconds(waiting),
      damagedCatalogs: this.#marks.damaged,
    };
  }

  // ---- what there is ----

  async #readManifest(): Promise<Manifest> {
    const { fqrn, storage } = this.#target;
    const bytes = await storage.read(MANIFEST_PATH);
    if (bytes === undefined) {
      throw new ThimbleError(
        'NOT_FOUND',
        `Cannot collect garbage of ${fqrn}: there is no repository in ${storage.name}`,
      );
    }
    const { manifest } = parseManifest(this.#ports.hashing, bytes);
    if (manifest.fqrn !== fqrn) {
      throw new ThimbleError(
        'CONFLICT',
        `Cannot collect garbage of ${fqrn}: ${storage.name} has the repository ${manifest.fqrn}`,
      );
    }
    if (!manifest.garbageCollectable && this.#options.force !== true) {
      throw new ThimbleError(
        'UNSUPPORTED',
        `Cannot collect garbage of ${fqrn}: its manifest says that old revisions are kept for ever`,
        { hint: 'replicas and readers may rely on it; --force deletes all the same' },
      );
    }
    return manifest;
  }

  /** The reference log, or what can be known without it. */
  async #references(manifest: Manifest): Promise<ReadonlyMap<ContentHash, Reference>> {
    const { fqrn, storage } = this.#target;
    const bytes = await storage.read(REFLOG_PATH);
    const byHash = (list: readonly Reference[]) => new Map(list.map((one) => [one.hash, one]));
    if (this.#options.rebuildReflog === true) {
      const known = bytes === undefined ? undefined : await unlessDamaged(async () => decodeReflog(bytes));
      const found = await findReferences(this.#objects, manifest);
      // What is known has better times than what is found.
      const all = byHash([...found, ...(known ?? [])]);
      if (!this.#isDry) await this.#writeReflog([...all.values()]);
      return all;
    }
    const hint = `thimble gc ${fqrn} --rebuild-reflog makes it anew from what is published`;
    if (bytes === undefined) {
      throw new ThimbleError(
        'NOT_FOUND',
        `Cannot collect garbage of ${fqrn}: the reference log ${REFLOG_PATH} is missing`,
        { hint },
      );
    }
    try {
      return byHash(decodeReflog(bytes));
    } catch (error) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot collect garbage of ${fqrn}: the reference log ${REFLOG_PATH} is damaged`,
        { hint, cause: error },
      );
    }
  }

  // ---- what stays ----

  /** Marks all that stays; answers when the oldest revision that is kept for its age was added. */
  async #keep(manifest: Manifest, references: ReadonlyMap<ContentHash, Reference>): Promise<number> {
    try {
      const mayLack = await hasAny(this.#storage, PARTIAL_PATHS);
      const oldestSeconds = await this.#keepNewest(manifest.rootCatalog, references, mayLack);
      for (const { rootCatalog } of await this.#tags(manifest)) await this.#keepRoot(rootCatalog, mayLack);
      if (manifest.certificate !== undefined) this.#marks.keep(manifest.certificate, 'X');
      if (manifest.history !== undefined) this.#marks.keep(manifest.history, 'H');
      if (manifest.metainfo !== undefined) this.#marks.keep(manifest.metainfo, 'M');
      await this.#keepProfiles(manifest);
      return oldestSeconds;
    } catch (error) {
      throw new ThimbleError(
        errorCodeOf(error),
        `Cannot collect garbage of ${manifest.fqrn}: something that has to be kept cannot be read, so nothing is deleted`,
        { hint: 'thimble check --all-tags tells what is wrong', cause: error },
      );
    }
  }

  /** The profiles of the manifest stay; what they needed once goes when its grace period is over. */
  async #keepProfiles({ profiles }: Manifest): Promise<void> {
    if (profiles === undefined) return;
    this.#marks.keep(profiles, '');
    const bytes = await this.#objects.find(profiles, '', MAX_PROFILE_INDEX_BYTES);
    // A replica that was made by other software lacks them.
    if (bytes === undefined) return;
    const index = decodeProfileIndex(bytes);
    for (const hash of objectsOfProfiles(index)) this.#marks.keep(hash, '');
    this.#retired = index.retired;
  }

  /** After everything that stays is known: the same bytes may be a file, too. */
  #condemnRetired(): void {
    for (const { hash, sinceSeconds } of this.#retired) {
      const object: ObjectName = { digest: digestOf(hash), algorithm: algorithmOf(hash), type: '' };
      if (sinceSeconds > this.#limitSeconds) this.#marks.wait(object);
      else this.#marks.condemn(object);
    }
  }

  async #keepNewest(
    newest: ContentHash,
    references: ReadonlyMap<ContentHash, Reference>,
    mayLack: boolean,
  ): Promise<number> {
    const { keepRevisions } = this.#options;
    const keepDays = this.#options.keepDays ?? (keepRevisions === undefined ? DEFAULT_KEEP_DAYS : undefined);
    const spanSeconds =
      keepDays === undefined ? Number.POSITIVE_INFINITY : this.#nowSeconds - keepDays * DAY_SECONDS;
    let hash = newest;
    for (let older = 0; ; older++) {
      const facts = await this.#keepRoot(hash, mayLack);
      const seconds = references.get(hash)?.timestampSeconds ?? facts?.lastModifiedSeconds ?? 0;
      const previous = facts?.previousRevision;
      const isEnough = !(seconds > spanSeconds) && older >= (keepRevisions ?? 0);
      if (isEnough || previous === undefined) return seconds;
      // An earlier collection took it, and all before it.
      if ((await this.#storage.size(objectPath(previous, 'C'))) === undefined) return seconds;
      hash = previous;
    }
  }

  async #keepRoot(hash: ContentHash, mayLack: boolean): Promise<RootFacts | undefined> {
    this.#keptRoots.add(hash);
    return this.#marks.keepTree(hash, mayLack);
  }

  async #tags({ history }: Manifest): Promise<readonly Tag[]> {
    if (history === undefined) return [];
    return decodeHistory(await this.#objects.load(history, 'H', MAX_HISTORY_BYTES)).tags;
  }

  // ---- what goes ----

  /** What the reference log has and nobody needs any more, with the time since when that is known. */
  async #expired(
    manifest: Manifest,
    references: ReadonlyMap<ContentHash, Reference>,
    oldestSeconds: number,
  ): Promise<readonly Expired[]> {
    const known = this.#state.readExpired();
    const named = new Set([manifest.certificate, manifest.history, manifest.metainfo]);
    const isNeeded = ({ hash, type, timestampSeconds }: Reference) =>
      type === 'catalog' ? this.#keptRoots.has(hash) : named.has(hash) || timestampSeconds >= oldestSeconds;
    const expired: Expired[] = [];
    for (const reference of references.values()) {
      const { hash, type } = reference;
      if (isNeeded(reference)) {
        if (type !== 'catalog') this.#marks.keep(hash, OBJECT_TYPE_OF[type]);
        continue;
      }
      // A clock that was ahead must not keep it for ever.
      let expiredSeconds = Math.min(known.get(hash) ?? this.#nowSeconds, this.#nowSeconds);
      // What is gone already needs no grace.
      if ((await this.#storage.size(objectPath(hash, OBJECT_TYPE_OF[type]))) === undefined)
        expiredSeconds = 0;
      expired.push({ ...reference, expiredSeconds });
    }
    return expired;
  }

  /** With all that only it leads to. */
  async #condemn(object: ObjectName | undefined): Promise<void> {
    if (object === undefined) return;
    if (object.type !== 'C') this.#marks.condemn(object);
    else await this.#marks.condemnTree(contentHashOf(object.algorithm, object.digest));
  }

  /**
   * Objects that nothing leads to go, if they are old enough. A catalog among those that stay keeps what is below it, as any
   * other does. Without the option all of them stay; on a replica their catalogs have to be known all the same, since a
   * replication that failed leaves some, and the next one takes each for whole.
   */
  async #condemnStrays(): Promise<void> {
    const { unreferenced = false } = this.#options;
    if (!unreferenced && !(await isReplica(this.#storage))) return;
    const old = new ObjectSet();
    const young: ObjectName[] = [];
    let count = 0;
    for await (const { path, modifiedSeconds } of this.#storage.objects()) {
      this.#progress('listing', ++count);
      const object = parseObjectPath(path);
      if (object === undefined || this.#marks.isKnown(object)) continue;
      const { digest, algorithm, type } = object;
      if (unreferenced && modifiedSeconds <= this.#limitSeconds) old.add(digest, algorithm, type);
      else if (type === 'C') young.push(object);
    }
    for (const { digest, algorithm } of young) await this.#marks.waitTree(contentHashOf(algorithm, digest));
    for (const path of old.paths()) await this.#condemn(parseObjectPath(path));
  }

  // ---- deleting ----

  async #delete(
    sweep: Sweep,
    manifest: Manifest,
    references: ReadonlyMap<ContentHash, Reference>,
    { going, waiting }: { readonly going: readonly Expired[]; readonly waiting: readonly Expired[] },
  ): Promise<void> {
    const paths = this.#marks.condemnedPaths();
    if (this.#isDry) return sweep.run(paths);
    // Before anything is deleted: a run that takes over finds the same to be expired.
    this.#state.writeExpired(timesOf([...going, ...waiting]));
    this.#state.writeCondemned(paths);
    if (manifest.hasAlternativePaths) {
      await this.#storage.remove(going.map(({ hash, type }) => `.cvmfsalt-${hash}${OBJECT_TYPE_OF[type]}`));
    }
    // It names nothing that is not there; what is condemned is known without it.
    const unknown = [...this.#keptRoots].filter((hash) => !references.has(hash));
    if (going.length > 0 || unknown.length > 0) {
      const gone = new Set(going.map(({ hash }) => hash));
      const added = unknown.map(
        (hash): Reference => ({ hash, type: 'catalog', timestampSeconds: this.#nowSeconds }),
      );
      await this.#writeReflog([...references.values()].filter(({ hash }) => !gone.has(hash)).concat(added));
    }
    await sweep.run(this.#state.readCondemned());
    await sweep.flush();
    this.#state.removeCondemned();
    this.#state.writeExpired(timesOf(waiting));
    await updateStatus(this.#storage, { last_gc: formatStatusTime(this.#nowSeconds) });
  }

  /** From the beginning, so that it does not keep the room of what was in it. */
  async #writeReflog(references: readonly Reference[]): Promise<void> {
    const change = { added: references, timestampSeconds: this.#nowSeconds };
    const bytes = encodeReflog(this.#target.fqrn, undefined, change, this.#state.temporary);
    await this.#storage.replace(REFLOG_PATH, bytes);
  }

  #nextSeconds(waiting: readonly Expired[]): number | null {
    if (waiting.length === 0) return null;
    const graceSeconds = this.#nowSeconds - this.#limitSeconds;
    return Math.min(...waiting.map(({ expiredSeconds }) => expiredSeconds)) + graceSeconds;
  }

  #progress(phase: GarbageProgress['phase'], objects: number): void {
    this.#options.onProgress?.({ phase, catalogs: this.#catalogs, objects });
  }
}

function objectName(hash: ContentHash, type: Reference['type']): ObjectName {
  return { digest: digestOf(hash), algorithm: algorithmOf(hash), type: OBJECT_TYPE_OF[type] };
}

function timesOf(expired: readonly Expired[]): Map<ContentHash, number> {
  return new Map(expired.map(({ hash, expiredSeconds }) => [hash, expiredSeconds]));
}
