/**
 * Whole trees of catalogs into a storage. A catalog is stored only when everything below it is there and survives a power
 * cut: so a catalog that is there says that its whole tree is, and is not looked into again.
 *
 * One event loop, many requests at a time. Catalogs wait on a stack, so that the way down is finished before its
 * neighbours begin, and are opened only while few objects wait: memory holds what lies on a few ways down, not the tree.
 */

import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import { type ContentHash, contentHashOf, isContentHash, NULL_HASH } from '../core/content-hash.ts';
import { errorCodeOf, ThimbleError } from '../core/errors.ts';
import type { Inflating } from '../core/ports.ts';
import { visitContents } from '../storage/catalog-references.ts';
import type { IncompleteCatalogs } from './incomplete-catalogs.ts';
import type { ObjectTransfer } from './object-transfer.ts';
import type { PathFilter } from './path-filter.ts';

export interface TreeRoot {
  readonly hash: ContentHash;
  /** Where the source lacks something below it: passed over and reported, or a failure. */
  readonly mayBeMissing: boolean;
  /** How many revisions before this one are wanted too. */
  readonly previous: number;
}

export interface TreeOptions {
  readonly inflating: Inflating;
  /** Requests at a time. */
  readonly parallel: number;
  /** What is wanted; everything where it is missing. */
  readonly filter?: PathFilter | undefined;
  /** Of revisions that are found on the way. */
  readonly mayMissPast: boolean;
  readonly onProgress?: () => void;
}

export interface TreeResult {
  /** Root catalogs that are here now, in the order of their arrival. */
  readonly roots: readonly ContentHash[];
  /** Those that are not, and why. */
  readonly missing: ReadonlyMap<ContentHash, ThimbleError>;
}

/** Bytes of content, inflated, that may be on their way at a time; one larger object may be, alone. */
const MAX_BYTES_UNDER_WAY = 128 * 1024 * 1024;
/** Bytes of catalogs that are opened at a time, and of those that wait to be stored. */
const MAX_CATALOG_BYTES_UNDER_WAY = 32 * 1024 * 1024;
/** Of a catalog whose parent does not say it. */
const UNKNOWN_CATALOG_BYTES = 1024 * 1024;

/** A catalog that is not stored yet. */
interface Pending {
  readonly hash: ContentHash;
  readonly path: ByteString;
  readonly sizeBytes: number;
  readonly parents: Pending[];
  readonly root: TreeRoot | undefined;
  /** Objects and nested catalogs that are still to come, and itself until it is open. */
  open: number;
  /** As the servers have it; missing where it is stored already. */
  stored: Bytes | undefined;
  isIncomplete: boolean;
  missing: ThimbleError | undefined;
}

interface ContentObject {
  readonly hash: ContentHash;
  readonly type: '' | 'P';
  /** Inflated. */
  readonly sizeBytes: number;
}

interface Batch {
  readonly catalog: Pending;
  readonly objects: readonly ContentObject[];
  next: number;
}

export class TreeTransfer {
  readonly #objects: ObjectTransfer;
  readonly #incomplete: IncompleteCatalogs;
  readonly #options: TreeOptions;
  readonly #stack: Pending[] = [];
  readonly #pending = new Map<ContentHash, Pending>();
  readonly #batches: Batch[] = [];
  #ready: Pending[] = [];
  readonly #roots: ContentHash[] = [];
  readonly #missing = new Map<ContentHash, ThimbleError>();
  #running = 0;
  #waiting = 0;
  #bytes = 0;
  #catalogBytes = 0;
  #readyBytes = 0;
  #isFlushing = false;
  #failure: unknown;
  #end: (() => void) | undefined;
  /** Catalogs stored. */
  catalogs = 0;

  constructor(objects: ObjectTransfer, incomplete: IncompleteCatalogs, options: TreeOptions) {
    this.#objects = objects;
    this.#incomplete = incomplete;
    this.#options = options;
  }

  /** Objects that are known to be wanted and were not looked at yet. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Brings trees here, the first one first. Throws NOT_FOUND for what is missing below a root that may not be, and as
   * `ObjectTransfer.bring` does; FORMAT, UNSUPPORTED for catalogs that cannot be read.
   */
  async transfer(roots: readonly TreeRoot[]): Promise<TreeResult> {
    for (const root of roots) this.#addRoot(root);
    await new Promise<void>((resolve) => {
      this.#end = resolve;
      this.#pump();
    });
    if (this.#failure !== undefined) throw this.#failure;
    return { roots: this.#roots, missing: this.#missing };
  }

  #addRoot(root: TreeRoot): void {
    // At the bottom: what is asked for first is finished first.
    this.#stack.unshift(this.#pendingOf(root.hash, '' as ByteString, 0, root));
  }

  #pendingOf(hash: ContentHash, path: ByteString, sizeBytes: number, root: TreeRoot | undefined): Pending {
    return {
      hash,
      path,
      sizeBytes: sizeBytes || UNKNOWN_CATALOG_BYTES,
      parents: [],
      root,
      open: 1,
      stored: undefined,
      isIncomplete: false,
      missing: undefined,
    };
  }

  // ---- what runs at a time ----

  /** Starts what can be started. */
  #pump(): void {
    this.#options.onProgress?.();
    while (this.#failure === undefined && this.#running < this.#options.parallel) {
      const start = this.#nextObject() ?? this.#nextCatalog();
      if (start === undefined) break;
      this.#run(start);
    }
    if (this.#isFlushing) return;
    const isIdle = this.#running === 0;
    const isFull = this.#readyBytes > MAX_CATALOG_BYTES_UNDER_WAY;
    if (this.#failure === undefined && this.#ready.length > 0 && (isIdle || isFull)) this.#store();
    else if (isIdle) this.#end?.();
  }

  #run(start: () => Promise<void>): void {
    this.#running++;
    void this.#guarded(start).then(() => {
      this.#running--;
      this.#pump();
    });
  }

  async #guarded(start: () => Promise<void>): Promise<void> {
    try {
      this.#objects.throwIfCancelled();
      await start();
    } catch (error) {
      this.#failure ??= error;
    }
  }

  #nextObject(): (() => Promise<void>) | undefined {
    const batch = this.#batches.at(-1);
    if (batch === undefined) return undefined;
    const object = batch.objects[batch.next]!;
    if (this.#bytes > 0 && this.#bytes + object.sizeBytes > MAX_BYTES_UNDER_WAY) return undefined;
    batch.next++;
    if (batch.next === batch.objects.length) this.#batches.pop();
    this.#waiting--;
    this.#bytes += object.sizeBytes;
    return () => this.#bringObject(batch.catalog, object);
  }

  #nextCatalog(): (() => Promise<void>) | undefined {
    const catalog = this.#stack.at(-1);
    // Objects that wait are at hand already; they come first.
    if (catalog === undefined || this.#batches.length > 0) return undefined;
    const { sizeBytes } = catalog;
    if (this.#catalogBytes > 0 && this.#catalogBytes + sizeBytes > MAX_CATALOG_BYTES_UNDER_WAY)
      return undefined;
    this.#stack.pop();
    this.#catalogBytes += sizeBytes;
    return () =>
      this.#openCatalog(catalog).finally(() => {
        this.#catalogBytes -= sizeBytes;
      });
  }

  // ---- objects ----

  async #bringObject(catalog: Pending, { hash, type, sizeBytes }: ContentObject): Promise<void> {
    try {
      await this.#attempt(catalog, () => this.#objects.bring(hash, type, storedLimit(sizeBytes)));
    } finally {
      this.#bytes -= sizeBytes;
    }
    this.#settle(catalog);
  }

  // ---- catalogs ----

  async #openCatalog(catalog: Pending): Promise<void> {
    const { hash, root } = catalog;
    const underWay = this.#pending.get(hash);
    if (underWay !== undefined && root === undefined) {
      // The same tree in two places.
      underWay.parents.push(...catalog.parents);
      return;
    }
    this.#pending.set(hash, catalog);
    const isHere = await this.#objects.isHere(hash, 'C');
    const isDone = isHere && (!this.#incomplete.has(hash) || this.#incomplete.isAsWanted(hash));
    if (isDone) catalog.isIncomplete = this.#incomplete.has(hash);
    if (!isDone || (root !== undefined && root.previous > 0)) {
      await this.#attempt(catalog, async () => {
        const own = isHere ? await this.#objects.own(hash, 'C') : undefined;
        const stored = own ?? (await this.#objects.fetch(hash, 'C', MAX_CATALOG_BYTES));
        if (own === undefined) catalog.stored = stored;
        this.#expand(catalog, this.#options.inflating.inflate(stored, MAX_CATALOG_BYTES), isDone);
      });
    }
    this.#settle(catalog);
  }

  /** Queues what a catalog refers to. */
  #expand(catalog: Pending, file: Bytes, isDone: boolean): void {
    if (isDone) {
      this.#addPrevious(catalog, CatalogReader.open(file));
      return;
    }
    const objects: ContentObject[] = [];
    const reader = visitContents(file, (digest, algorithm, type, sizeBytes) => {
      // What is no size is the reader's trouble; here it only may not upset the counting.
      objects.push({ hash: contentHashOf(algorithm, digest), type, sizeBytes: Math.max(sizeBytes, 0) });
    });
    this.#addPrevious(catalog, reader);
    catalog.open += objects.length;
    this.#waiting += objects.length;
    if (objects.length > 0) this.#batches.push({ catalog, objects, next: 0 });
    for (const { path, hash, sizeBytes } of reader.nested) {
      if (this.#options.filter?.includes(path) === false) {
        catalog.isIncomplete = true;
        continue;
      }
      catalog.open++;
      const pending = this.#pendingOf(hash, path, sizeBytes, undefined);
      pending.parents.push(catalog);
      this.#stack.push(pending);
    }
  }

  #addPrevious({ root }: Pending, reader: CatalogReader): void {
    const previous = root?.previous ?? 0;
    if (previous === 0) return;
    const hash = reader.properties.get('previous_revision' as ByteString);
    if (hash === undefined || !isContentHash(hash) || hash === NULL_HASH) return;
    this.#addRoot({ hash, mayBeMissing: this.#options.mayMissPast, previous: previous - 1 });
  }

  /** Runs a step of a catalog; that something is missing is kept for its roots to decide about. */
  async #attempt(catalog: Pending, step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (error) {
      const wrapped = explained(catalog, error);
      if (errorCodeOf(error) !== 'NOT_FOUND') throw wrapped;
      catalog.missing ??= wrapped as ThimbleError;
    }
  }

  /** One thing less that a catalog waits for. */
  #settle(catalog: Pending): void {
    if (--catalog.open > 0) return;
    if (catalog.missing !== undefined) this.#leave(catalog);
    else {
      this.#ready.push(catalog);
      this.#readyBytes += catalog.stored?.length ?? 0;
    }
  }

  /** Something below is missing: neither this catalog nor those above can be stored. */
  #leave(catalog: Pending): void {
    const { hash, root, parents, missing } = catalog;
    this.#pending.delete(hash);
    if (root !== undefined) {
      if (root.mayBeMissing) this.#missing.set(hash, missing!);
      else this.#failure ??= missing;
    }
    for (const parent of parents) {
      parent.missing ??= missing;
      this.#settle(parent);
    }
  }

  /** Stores the catalogs whose trees are here, after those trees are safe. */
  #store(): void {
    const ready = this.#ready;
    this.#ready = [];
    this.#readyBytes = 0;
    this.#isFlushing = true;
    const storing = async () => {
      await this.#objects.flush();
      for (const { hash, isIncomplete } of ready) this.#incomplete.set(hash, isIncomplete);
      await this.#incomplete.save();
      for (const catalog of ready) await this.#storeOne(catalog);
    };
    void this.#guarded(storing).then(() => {
      this.#isFlushing = false;
      this.#pump();
    });
  }

  async #storeOne(catalog: Pending): Promise<void> {
    const { hash, root, parents, stored, isIncomplete } = catalog;
    if (stored !== undefined) {
      await this.#objects.put(hash, 'C', stored);
      this.catalogs++;
    }
    catalog.stored = undefined;
    this.#pending.delete(hash);
    if (root !== undefined) this.#roots.push(hash);
    for (const parent of parents) {
      parent.isIncomplete ||= isIncomplete;
      this.#settle(parent);
    }
  }
}

/** zlib grows what does not compress by a little; anything longer is not the object. */
function storedLimit(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 1000) + 64;
}

function explained(catalog: Pending, error: unknown): unknown {
  if (!(error instanceof ThimbleError) || error.code === 'CANCELLED') return error;
  const path = catalog.path === '' ? '/' : displayBytes(catalog.path);
  return new ThimbleError(error.code, `Cannot replicate ${path}, catalog ${catalog.hash}`, {
    hint: error.hint,
    details: { catalog: catalog.hash },
    cause: error,
  });
}
