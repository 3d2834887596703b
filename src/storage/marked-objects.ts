/**
 * The marks of a garbage collection: what is reachable from the catalogs that stay, and what only from those that go. Each
 * catalog is read once, however many revisions share it.
 */

import { type CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import {
  algorithmOf,
  type ContentHash,
  digestOf,
  type HashAlgorithm,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf } from '../core/errors.ts';
import { type RootFacts, rootFacts, visitContents } from './catalog-references.ts';
import { type ObjectName, ObjectSet, parseObjectPath } from './object-set.ts';
import type { StoredObjects } from './stored-objects.ts';

/** Takes an object into a set; false if it is decided already, and so is all below it. */
type Claim = (digest: Uint8Array, algorithm: HashAlgorithm, type: ObjectType) => boolean;

interface WalkEvents {
  readonly onRead?: (hash: ContentHash, catalog: CatalogReader) => void;
  /** Throws what is not passed over. */
  readonly onFailure: (error: unknown, hash: ContentHash) => void;
  /** All below it is decided. */
  readonly onDone?: (hash: ContentHash) => void;
}

export class MarkedObjects {
  /** Stays. */
  readonly #kept = new ObjectSet();
  /** Of what stays: that which nothing but waiting for the end of the grace period keeps. */
  readonly #waiting = new ObjectSet();
  /** Goes. */
  readonly #condemned = new ObjectSet();
  /** Those that go, each behind all that are below it. */
  readonly #condemnedCatalogs: ContentHash[] = [];
  readonly #objects: StoredObjects;
  readonly #onCatalog: (objects: number) => void;
  /** Catalogs that nobody needs any more, and that could not be read. */
  damaged = 0;

  /** `onCatalog` hears of each catalog that is read, and how many objects are known by then. */
  constructor(objects: StoredObjects, onCatalog: (objects: number) => void) {
    this.#objects = objects;
    this.#onCatalog = onCatalog;
  }

  isKept({ digest, algorithm, type }: ObjectName): boolean {
    return this.#kept.has(digest, algorithm, type);
  }

  isKnown(object: ObjectName): boolean {
    const { digest, algorithm, type } = object;
    return this.isKept(object) || this.#condemned.has(digest, algorithm, type);
  }

  /** A single object, such as a certificate. */
  keep(hash: ContentHash, type: ObjectType): void {
    this.#kept.add(digestOf(hash), algorithmOf(hash), type);
  }

  /**
   * A root catalog and all below it; none of them may be missing, or with `mayLack` none that is there may be damaged.
   * `undefined` if it is kept already. Throws NOT_FOUND, INTEGRITY, FORMAT, LIMIT, UNSUPPORTED, STORAGE.
   */
  async keepTree(root: ContentHash, mayLack: boolean): Promise<RootFacts | undefined> {
    let facts: RootFacts | undefined;
    await this.#claimTree(root, (...object) => this.#kept.add(...object), {
      onRead: (hash, catalog) => {
        if (hash === root) facts = rootFacts(catalog);
      },
      onFailure: (error, hash) => {
        if (!mayLack || hash === root || errorCodeOf(error) !== 'NOT_FOUND') throw error;
      },
    });
    return facts;
  }

  /** Keeps an object until its grace period is over. */
  wait({ digest, algorithm, type }: ObjectName): void {
    if (this.#kept.add(digest, algorithm, type)) this.#waiting.add(digest, algorithm, type);
  }

  /** Keeps a catalog and all below it until their grace period is over; what cannot be read is of no use to anybody. */
  async waitTree(root: ContentHash): Promise<void> {
    const claim: Claim = (...object) => this.#kept.add(...object) && this.#waiting.add(...object);
    await this.#claimTree(root, claim, { onFailure: (error) => this.#passOver(error) });
  }

  /** A single object that is no catalog. */
  condemn({ digest, algorithm, type }: ObjectName): void {
    if (!this.#kept.has(digest, algorithm, type)) this.#condemned.add(digest, algorithm, type);
  }

  /** What only this catalog, and others that are condemned, lead to. */
  async condemnTree(root: ContentHash): Promise<void> {
    const claim: Claim = (...object) => !this.#kept.has(...object) && this.#condemned.add(...object);
    await this.#claimTree(root, claim, {
      onFailure: (error) => this.#passOver(error),
      onDone: (hash) => this.#condemnedCatalogs.push(hash),
    });
  }

  waitingPaths(): Iterable<string> {
    return this.#waiting.paths();
  }

  /**
   * What goes, in the order in which it may: a catalog before those below it, and all of them before contents. So whoever
   * finds a catalog, at any moment, finds all that is below it.
   */
  *condemnedPaths(): Generator<string> {
    for (const hash of this.#condemnedCatalogs.toReversed()) {
      if (!this.#kept.has(digestOf(hash), algorithmOf(hash), 'C')) yield objectPath(hash, 'C');
    }
    for (const path of this.#condemned.paths()) {
      const object = parseObjectPath(path)!;
      // Some were condemned before it was known that they have to wait.
      if (object.type !== 'C' && !this.isKept(object)) yield path;
    }
  }

  async #claimTree(hash: ContentHash, claim: Claim, on: WalkEvents): Promise<void> {
    if (!claim(digestOf(hash), algorithmOf(hash), 'C')) return;
    for (const nested of await this.#claimContents(hash, claim, on)) await this.#claimTree(nested, claim, on);
    on.onDone?.(hash);
  }

  /** Answers the nested catalogs. */
  async #claimContents(hash: ContentHash, claim: Claim, on: WalkEvents): Promise<readonly ContentHash[]> {
    try {
      const catalog = visitContents(await this.#objects.load(hash, 'C', MAX_CATALOG_BYTES), claim);
      on.onRead?.(hash, catalog);
      this.#onCatalog(this.#kept.size + this.#condemned.size);
      return catalog.nested.map((reference) => reference.hash);
    } catch (error) {
      on.onFailure(error, hash);
      return [];
    }
  }

  #passOver(error: unknown): void {
    const code = errorCodeOf(error);
    if (!DAMAGE.has(code)) throw error;
    // What is missing was deleted by an earlier collection.
    if (code !== 'NOT_FOUND') this.damaged++;
  }
}

/** Failures of what is stored; others are of the storage, or ours. */
const DAMAGE: ReadonlySet<ErrorCode> = new Set(['NOT_FOUND', 'INTEGRITY', 'FORMAT', 'LIMIT', 'UNSUPPORTED']);

/** `undefined` for what is missing or damaged; a storage that fails is thrown. */
export async function unlessDamaged<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!DAMAGE.has(errorCodeOf(error))) throw error;
    return undefined;
  }
}
