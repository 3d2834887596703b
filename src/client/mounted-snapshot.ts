/**
 * A snapshot and the means to complete it: a file system that answers from what is here, and `fulfil`, which brings what
 * it was missing.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { CatalogReader, catalogLimit } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { Hashing } from '../core/ports.ts';
import { type CatalogNeed, type Need, type ObjectNeed, ROOT_NODE } from '../core/vfs.ts';
import type { Slot } from './catalog-tree.ts';
import type { Objects } from './objects.ts';
import { ReadAhead } from './read-ahead.ts';
import type { Snapshot } from './repository.ts';
import { type CatalogChange, changesOf, type RevisionChanges } from './revision-changes.ts';
import { SnapshotVfs, type SnapshotVfsOptions } from './snapshot-vfs.ts';

export interface CatalogName {
  /** Absolute path of the directory that it is mounted on; the root is the empty string. */
  readonly mountpoint: ByteString;
  readonly hash: ContentHash;
}

/** A catalog as it travels between threads: its inflated bytes, and where it belongs. */
export interface CatalogFile extends CatalogName {
  readonly bytes: Uint8Array;
}

/** A catalog that need not be loaded. */
export interface CatalogAtHand {
  readonly reader: CatalogReader;
  /** To be called when it has proved to be sound, before it is attached. */
  use(): void;
}

export interface MountedSnapshotOptions {
  readonly hashing: Hashing;
  readonly variable?: SnapshotVfsOptions['variable'];
  /**
   * Called before a catalog is attached. Whoever keeps a second file system in step attaches the same bytes there; the
   * bytes to use are returned, so that both can share them, or a reader of them.
   */
  readonly onCatalog?: (file: CatalogFile) => Uint8Array | CatalogReader;
  /** Asked before a catalog is loaded; `undefined` if it has to be. */
  readonly catalogAtHand?: (name: CatalogName) => CatalogAtHand | undefined;
  /** Called when another revision is shown, whose catalogs have been handed over before. */
  readonly onMove?: (snapshot: Snapshot) => void;
}

export class MountedSnapshot {
  readonly vfs: SnapshotVfs;
  readonly readAhead: ReadAhead;
  #snapshot: Snapshot;
  readonly #objects: Objects;
  readonly #onCatalog: (file: CatalogFile) => Uint8Array | CatalogReader;
  readonly #catalogAtHand: (name: CatalogName) => CatalogAtHand | undefined;
  readonly #onMove: (snapshot: Snapshot) => void;
  readonly #attaching = new Map<string, Promise<Slot>>();

  private constructor(snapshot: Snapshot, objects: Objects, options: MountedSnapshotOptions) {
    this.#snapshot = snapshot;
    this.#objects = objects;
    this.#onCatalog = options.onCatalog ?? ((file) => file.bytes);
    this.#catalogAtHand = options.catalogAtHand ?? (() => undefined);
    this.#onMove = options.onMove ?? (() => {});
    this.vfs = new SnapshotVfs({
      hashing: options.hashing,
      cache: objects,
      variable: options.variable,
    });
    this.readAhead = new ReadAhead(this.vfs, objects);
  }

  /** Loads the root catalog. Throws as `Objects.load` does. */
  static async open(
    snapshot: Snapshot,
    objects: Objects,
    options: MountedSnapshotOptions,
  ): Promise<MountedSnapshot> {
    const mounted = new MountedSnapshot(snapshot, objects, options);
    await mounted.#attach(rootOf(snapshot));
    return mounted;
  }

  /** The one that is shown now. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** When somebody who begins to wait now has waited long enough, on the clock's `monotonicMs`. */
  untilMs(): number {
    return this.#objects.untilMs();
  }

  /** Brings what `need` asks for, until then at the latest. Throws as `Objects.fetch` and `Objects.load` do. */
  async fulfil(need: Need, untilMs?: number): Promise<void> {
    if (need.kind === 'object') {
      const fetching = this.#objects.fetch(this.#labelled(need), { untilMs });
      this.readAhead.onObject(need);
      return fetching;
    }
    const attaching = this.#attach(need, untilMs);
    this.readAhead.onCatalog(need);
    await attaching;
  }

  /** Attaches a catalog that nobody has asked for yet. Throws as `Objects.load` does. */
  async attach(catalog: CatalogName): Promise<void> {
    await this.#attach({ ...catalog, sizeBytes: 0 });
  }

  /** Finding out the path takes longer than most of what is done with it: only complaints do. */
  #labelled(need: ObjectNeed): ObjectNeed {
    const { place } = need;
    if (place === undefined || need.label !== undefined) return need;
    const { vfs } = this;
    return {
      ...need,
      get label() {
        return displayBytes(vfs.pathOf(place.node));
      },
    };
  }

  /**
   * Shows another snapshot of the same repository, and tells what the kernel has to forget. Of all catalogs that are attached, the
   * new forms are fetched before: nothing has changed if that fails. Throws as `Objects.load` does.
   */
  async moveTo(snapshot: Snapshot): Promise<RevisionChanges> {
    const { catalogs } = this.vfs;
    const root = { before: catalogs.root, after: await this.#attach(rootOf(snapshot)) };
    const changed: CatalogChange[] = [{ ...root, rootNode: ROOT_NODE }];
    for (const { before, after } of changed) {
      for (const [path, { hash }] of before.references) {
        const mountpoint = (before.base + path) as ByteString;
        const child = catalogs.find(mountpoint, hash);
        const next = after.references.get(path);
        // Where nobody looked yet there is nothing to forget.
        if (child === undefined || next === undefined || next.hash === hash) continue;
        const rootNode = catalogs.seekPath(before, mountpoint) ? this.vfs.nodeOf(before) : ROOT_NODE;
        changed.push({ before: child, after: await this.#attach({ ...next, mountpoint }), rootNode });
      }
    }
    const changes = changesOf(changed, (slot) => this.vfs.nodeOf(slot));
    this.vfs.moveTo(snapshot.rootCatalog);
    this.#onMove(snapshot);
    this.#snapshot = snapshot;
    return changes;
  }

  #attach(wanted: WantedCatalog, untilMs?: number): Promise<Slot> {
    const { mountpoint, hash } = wanted;
    const attached = this.vfs.catalogs.find(mountpoint, hash);
    if (attached !== undefined) return Promise.resolve(attached);
    const key = `${hash}${mountpoint}`;
    const underWay = this.#attaching.get(key);
    if (underWay !== undefined) return underWay;
    const attaching = this.#load(wanted, untilMs).finally(() => this.#attaching.delete(key));
    this.#attaching.set(key, attaching);
    return attaching;
  }

  async #load({ mountpoint, hash, sizeBytes }: WantedCatalog, untilMs: number | undefined): Promise<Slot> {
    const { catalogs } = this.vfs;
    const atHand = this.#catalogAtHand({ mountpoint, hash });
    // Before others get it: nothing of a damaged catalog may reach them.
    if (atHand !== undefined) {
      this.#objects.onTouch?.(hash, true);
      catalogs.verify({ mountpoint, hash, reader: atHand.reader });
      atHand.use();
      catalogs.attach({ mountpoint, hash, reader: atHand.reader });
      return catalogs.find(mountpoint, hash)!;
    }
    const label = mountpoint === '' ? 'root catalog' : `catalog of ${mountpoint}`;
    const loaded = await this.#objects.load(hash, 'C', catalogLimit(sizeBytes), label, { untilMs });
    catalogs.verify({ mountpoint, hash, reader: CatalogReader.open(loaded) });
    const own = this.#onCatalog({ mountpoint, hash, bytes: loaded });
    const reader = own instanceof CatalogReader ? own : CatalogReader.open(own);
    catalogs.attach({ mountpoint, hash, reader });
    return catalogs.find(mountpoint, hash)!;
  }
}

/** `sizeBytes` is what it is said to have; 0: nobody knows. */
type WantedCatalog = Pick<CatalogNeed, 'mountpoint' | 'hash' | 'sizeBytes'>;

function rootOf({ rootCatalog, rootCatalogSizeBytes = 0 }: Snapshot): WantedCatalog {
  return { mountpoint: '' as ByteString, hash: rootCatalog, sizeBytes: rootCatalogSizeBytes };
}
