/**
 * The catalogs of a file system that is mounted: which one is mounted where, now and in the revisions shown before.
 *
 * Each attached catalog has a slot, and keeps it: node ids are made of slots. When the file system moves to another
 * revision, slots of catalogs that are the same stay; changed catalogs get new ones beside the old.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { bytesOf } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import type { CatalogReader, NestedReference } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { type PathKey, pathKeyOf } from '../core/path-key.ts';
import type { Hashing } from '../core/ports.ts';
import { NotYet } from '../core/vfs.ts';

/** A catalog to attach. */
export interface Attachment {
  /** Absolute path of the directory that it is mounted on; the root is the empty string. */
  readonly mountpoint: ByteString;
  readonly hash: ContentHash;
  readonly reader: CatalogReader;
}

export interface Slot extends Attachment {
  readonly index: number;
  readonly rootKey: PathKey;
  /** What stands before paths of this catalog: empty, but below a bind mount point. */
  readonly base: ByteString;
  readonly inodeHigh: number;
  /** Nested catalogs and bind mount points; paths are those of this catalog. */
  readonly references: ReadonlyMap<ByteString, NestedReference>;
  /** Hard-link group to the row that stands for its inode. */
  readonly groups: Map<number, number>;
  /** All catalogs that have been mounted here and are still known, in the order in which they came; this one among them. */
  readonly versions: readonly Slot[];
  /** How many came before it. */
  readonly version: number;
}

/** Node ids must stay below 2^53. */
const MAX_SLOTS = 2 ** 21;
/** Of each directory with a catalog; nodes of older ones become stale. */
export const MAX_VERSIONS = 32;

interface Mountpoint {
  readonly versions: Slot[];
  /** Ever. */
  count: number;
}

export class CatalogTree {
  readonly #hashing: Hashing;
  readonly #slots: (Slot | undefined)[] = [];
  readonly #mountpoints = new Map<ByteString, Mountpoint>();
  readonly #inodeHighs = new Set<number>();
  #root: Slot | undefined;
  /** Slots that are part of the revision shown now, as far as somebody asked; `undefined` while there was only one revision. */
  #current: Map<Slot, boolean> | undefined;

  constructor(hashing: Hashing) {
    this.#hashing = hashing;
  }

  /** Catalogs attached so far, those of earlier revisions among them. */
  get count(): number {
    return this.#slots.length;
  }

  /** The root catalog of the revision shown. */
  get root(): Slot {
    return this.#root!;
  }

  slot(index: number): Slot | undefined {
    return this.#slots[index];
  }

  /** A catalog that is attached. */
  find(mountpoint: ByteString, hash: ContentHash): Slot | undefined {
    return this.#mountpoints.get(mountpoint)?.versions.find((slot) => slot.hash === hash);
  }

  /**
   * Throws FORMAT for a catalog that cannot be mounted there. What passes here can be attached; whoever hands catalogs to
   * others asks before.
   */
  verify({ mountpoint, hash, reader }: Attachment): void {
    if (!mountpoint.endsWith(reader.rootPrefix)) {
      const [there, own] = [displayBytes(mountpoint), displayBytes(reader.rootPrefix)];
      throw new ThimbleError('FORMAT', `Cannot use catalog ${hash} at ${there}: it is one of ${own}`);
    }
    if (!reader.find(pathKeyOf(this.#hashing, reader.rootPrefix))) {
      throw new ThimbleError('FORMAT', `Cannot use catalog ${hash}: it has no root entry`);
    }
  }

  /**
   * Attaches a catalog; the first one is that of the root. Two trees in which the same catalogs are attached in the same order agree
   * on every slot. Attaching the same again changes nothing. Throws FORMAT, LIMIT.
   */
  attach(attachment: Attachment): void {
    const { mountpoint, hash, reader } = attachment;
    if (this.find(mountpoint, hash) !== undefined) return;
    this.verify(attachment);
    if (this.#slots.length === MAX_SLOTS) {
      throw new ThimbleError('LIMIT', `Cannot attach catalog ${hash}: ${MAX_SLOTS} are attached already`);
    }
    const place = this.#mountpoints.get(mountpoint) ?? { versions: [], count: 0 };
    this.#mountpoints.set(mountpoint, place);
    const slot: Slot = {
      mountpoint,
      hash,
      reader,
      index: this.#slots.length,
      rootKey: pathKeyOf(this.#hashing, reader.rootPrefix),
      base: mountpoint.slice(0, mountpoint.length - reader.rootPrefix.length) as ByteString,
      inodeHigh: this.#root === undefined ? 0 : this.#claimInodeHigh(mountpoint),
      references: new Map(
        [...reader.nested, ...reader.bindMountpoints].map((nested) => [nested.path, nested]),
      ),
      groups: new Map(),
      versions: place.versions,
      version: place.count++,
    };
    this.#slots.push(slot);
    place.versions.push(slot);
    this.#root ??= slot;
    if (place.versions.length > MAX_VERSIONS) this.#dropOldest(place.versions);
  }

  /** Shows another revision, whose root catalog is attached. */
  moveTo(rootCatalog: ContentHash): void {
    const root = this.find('' as ByteString, rootCatalog);
    if (root === undefined) throw new ThimbleError('INTERNAL', `Root catalog ${rootCatalog} is not attached`);
    this.#root = root;
    this.#current = new Map();
  }

  /** Whether a catalog is part of the revision shown. Where that cannot be told without fetching, it is not. */
  isCurrent(slot: Slot): boolean {
    if (this.#current === undefined) return true;
    const known = this.#current.get(slot);
    if (known !== undefined) return known;
    const there = this.slotFor(slot.mountpoint, true);
    if (there instanceof NotYet) return false;
    this.#current.set(slot, there === slot);
    return there === slot;
  }

  /**
   * The catalog of the revision shown that has the row of a path, or, with `isInside`, the rows of what is in that directory. They
   * differ where another catalog takes over.
   */
  slotFor(path: ByteString, isInside: boolean): Slot | NotYet {
    for (let slot = this.root; ; ) {
      const reference = referenceTowards(slot, path, isInside);
      if (reference === undefined) return slot;
      const { hash, sizeBytes } = reference;
      const mountpoint = (slot.base + reference.path) as ByteString;
      const next = this.find(mountpoint, hash);
      if (next === undefined) return new NotYet({ kind: 'catalog', mountpoint, hash, sizeBytes });
      slot = next;
    }
  }

  /** Points the reader of a catalog at the row of an absolute path; false if it has none. */
  seekPath({ reader, base }: Slot, path: ByteString): boolean {
    return reader.find(pathKeyOf(this.#hashing, path.slice(base.length) as ByteString));
  }

  #dropOldest(versions: Slot[]): void {
    const oldest = versions.findIndex((slot) => slot !== this.#root);
    const [dropped] = versions.splice(oldest, 1);
    if (dropped !== undefined) this.#slots[dropped.index] = undefined;
  }

  /** The upper half of inode numbers of a catalog: from its path, so that it is the same on every mount. */
  #claimInodeHigh(path: ByteString): number {
    const digest = this.#hashing.digest('md5', bytesOf(path));
    let high = ((digest[0]! << 24) | (digest[1]! << 16) | (digest[2]! << 8) | digest[3]!) & 0x7fff_ffff;
    while (high === 0 || this.#inodeHighs.has(high)) high = (high + 1) & 0x7fff_ffff;
    this.#inodeHighs.add(high);
    return high;
  }
}

/** The reference of a catalog that is on the way to a path. */
function referenceTowards(slot: Slot, path: ByteString, isInside: boolean): NestedReference | undefined {
  const { references, mountpoint, base } = slot;
  if (references.size === 0 || path.length <= mountpoint.length) return undefined;
  for (let end = mountpoint.length; end < path.length; ) {
    const slash = path.indexOf('/', end + 1);
    end = slash < 0 ? path.length : slash;
    if (end === path.length && !isInside) return undefined;
    const reference = references.get(path.slice(base.length, end) as ByteString);
    if (reference !== undefined) return reference;
  }
  return undefined;
}
