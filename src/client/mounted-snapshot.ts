/**
 * A snapshot and the means to complete it: a file system that answers from what is here, and `fulfil`, which brings what
 * it was missing.
 */

import { CatalogReader, MAX_CATALOG_BYTES } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { Hashing } from '../core/ports.ts';
import type { CatalogNeed, Need, NodeId } from '../core/vfs.ts';
import type { Objects } from './objects.ts';
import type { Snapshot } from './repository.ts';
import { SnapshotVfs, type SnapshotVfsOptions } from './snapshot-vfs.ts';

/** A catalog as it travels between threads: its inflated bytes, and where it belongs. */
export interface CatalogFile {
  readonly node: NodeId | undefined;
  readonly hash: ContentHash;
  readonly bytes: Uint8Array;
}

export interface MountedSnapshotOptions {
  readonly hashing: Hashing;
  readonly variable?: SnapshotVfsOptions['variable'];
  /**
   * Called before a catalog is attached. Whoever keeps a second file system in step attaches the same bytes there; the
   * bytes to use are returned, so that both can share them.
   */
  readonly onCatalog?: (file: CatalogFile) => Uint8Array;
}

export class MountedSnapshot {
  readonly vfs: SnapshotVfs;
  readonly snapshot: Snapshot;
  readonly #objects: Objects;
  readonly #onCatalog: (file: CatalogFile) => Uint8Array;
  readonly #attaching = new Map<NodeId, Promise<void>>();

  private constructor(snapshot: Snapshot, objects: Objects, options: MountedSnapshotOptions) {
    this.snapshot = snapshot;
    this.#objects = objects;
    this.#onCatalog = options.onCatalog ?? ((file) => file.bytes);
    this.vfs = new SnapshotVfs({
      hashing: options.hashing,
      cache: objects,
      variable: options.variable,
    });
  }

  /** Loads the root catalog. Throws as `Objects.load` does. */
  static async open(
    snapshot: Snapshot,
    objects: Objects,
    options: MountedSnapshotOptions,
  ): Promise<MountedSnapshot> {
    const mounted = new MountedSnapshot(snapshot, objects, options);
    await mounted.#attach(undefined, snapshot.rootCatalog, 'root catalog');
    return mounted;
  }

  /** Brings what `need` asks for. Throws as `Objects.fetch` and `Objects.load` do. */
  async fulfil(need: Need): Promise<void> {
    if (need.kind === 'object') return this.#objects.fetch(need);
    if (this.vfs.isAttached(need.node)) return;
    const underWay = this.#attaching.get(need.node);
    if (underWay !== undefined) return underWay;
    const attaching = this.#attachNested(need).finally(() => this.#attaching.delete(need.node));
    this.#attaching.set(need.node, attaching);
    return attaching;
  }

  #attachNested(need: CatalogNeed): Promise<void> {
    return this.#attach(need.node, need.hash, `catalog of ${need.mountpoint}`);
  }

  async #attach(node: NodeId | undefined, hash: ContentHash, label: string): Promise<void> {
    const loaded = await this.#objects.load(hash, 'C', MAX_CATALOG_BYTES, label);
    // Before others get it: nothing of a damaged catalog may reach them.
    CatalogReader.open(loaded);
    const bytes = this.#onCatalog({ node, hash, bytes: loaded });
    this.vfs.attach({ node, hash, reader: CatalogReader.open(bytes) });
  }
}
