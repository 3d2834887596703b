/**
 * Fetches what a sequential reader will ask for next: the chunks behind one of a large file, the files behind one in a
 * directory, the catalogs beside one. It sees only what had to be waited for, and guesses from that; a guess that is right
 * makes the next one larger, a wrong one ends them. All of it in the background: nobody waits for it, and its failures are
 * nobody's.
 */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { catalogLimit, type NestedReference } from '../core/catalog/catalog-reader.ts';
import { type CatalogNeed, type NodeId, NotYet, type ObjectNeed } from '../core/vfs.ts';
import { cacheIdOf } from './cache.ts';
import type { Slot } from './catalog-tree.ts';
import type { Objects } from './objects.ts';
import type { SnapshotVfs } from './snapshot-vfs.ts';
import type { StoredChunk } from './stored-file.ts';

/** Waits in a row, each behind the one before, until something is fetched ahead. */
const FILES_IN_A_ROW = 3;
const CHUNKS_IN_A_ROW = 2;
const CATALOGS_IN_A_ROW = 2;
const FIRST_FILES = 4;
const MAX_FILES = 64;
const MAX_FILE_BYTES = 8 * 1024 * 1024;
/** What a reader asks for in one go: such a file has no second piece that its readers could wait for. */
const MAX_HANDED_BYTES = 128 * 1024;
/** The kernel is not given every file: from those that are asked for, it is seen how far a reader has come. */
const ASKED_FOR_EVERY = 8;
const MAX_CHUNKS = 4;
const MAX_CHUNK_BYTES = 32 * 1024 * 1024;
const MAX_CATALOGS = 16;
const MAX_CATALOG_AHEAD_BYTES = 32 * 1024 * 1024;
/** Readers that are followed at a time, of each kind. */
const MAX_READERS = 8;
/** Files that are known to come next before anything is fetched. */
const LOOKED_AHEAD = 8;
/** Between one file and the next in a directory there may be rows of others. */
const MAX_ROWS_BETWEEN = 1024;

export interface ReadAheadStatus {
  readonly files: number;
  readonly chunks: number;
  readonly catalogs: number;
  /** Files that the kernel was given before anybody read them; also from the cache. */
  readonly handed: number;
  /** Inflated, of files and chunks. */
  readonly bytes: number;
  /** Of those, what was fetched before a guess turned out to be wrong, and not passed by then. */
  readonly wastedBytes: number;
}

/** Somebody who reads the files of a directory one after the other, and maybe those of the next directories. */
interface DirectoryReader {
  /** Was seen to go on with the next directory. */
  readonly crosses: boolean;
  run: number;
  window: number;
  /** The last file that was read, until it is worth looking for those behind it. */
  seed: NodeId | undefined;
  /** The files to come, in order; those at the front were fetched. */
  ahead: NodeId[];
  /** Sizes of those that were. */
  fetched: number[];
  /** The last one that it read. */
  last: NodeId;
}

/** Somebody who reads a file from its start to its end. */
interface FileReader {
  run: number;
  window: number;
  /** Of the last chunk that was waited for. */
  chunk: number;
}

/** Somebody who walks through the catalogs below another. */
interface CatalogWalker {
  run: number;
  window: number;
  readonly references: readonly NestedReference[];
  last: number;
  /** Those before it have been fetched. */
  frontier: number;
}

export class ReadAhead {
  readonly #vfs: SnapshotVfs;
  readonly #objects: Objects;
  readonly #directories: DirectoryReader[] = [];
  readonly #files = new Map<NodeId, FileReader>();
  readonly #walkers = new Map<Slot, CatalogWalker>();
  #ahead = 0;
  readonly #counters = { files: 0, chunks: 0, catalogs: 0, handed: 0, bytes: 0, wastedBytes: 0 };

  constructor(vfs: SnapshotVfs, objects: Objects) {
    this.#vfs = vfs;
    this.#objects = objects;
  }

  status(): ReadAheadStatus {
    return { ...this.#counters };
  }

  /** A read has to wait for an object. */
  onObject({ place }: ObjectNeed): void {
    if (place === undefined) return;
    const { node, chunk } = place;
    try {
      if (chunk === 0) this.#followDirectory(node);
      const chunks = this.#vfs.chunksOf(node);
      if (chunks.length > 1) this.#followFile(node, chunk, chunks);
    } catch {
      // What is wrong with the catalog is told to whoever reads the file.
    }
  }

  /** Somebody has read a file from its start and did not have to wait; not every such read is told. */
  onRead(node: NodeId): void {
    try {
      this.#followDirectory(node);
    } catch {
      // As above.
    }
  }

  /** Somebody has to wait for a catalog. */
  onCatalog({ mountpoint }: CatalogNeed): void {
    const parent = this.#vfs.catalogs.slotFor(mountpoint, false);
    if (parent instanceof NotYet) return;
    const walker = remembered(this.#walkers, parent, () => walkerOf(parent));
    const path = mountpoint.slice(parent.base.length) as ByteString;
    const index = walker.references.findIndex((reference) => reference.path === path);
    if (index < 0) return;
    const isNext = index > walker.last && index <= Math.max(walker.last + 1, walker.frontier);
    walker.run = isNext ? walker.run + 1 : 1;
    walker.window =
      walker.run < CATALOGS_IN_A_ROW ? 0 : Math.min(MAX_CATALOGS, Math.max(2, 2 * walker.window));
    walker.last = index;
    this.#fetchCatalogs(walker, parent);
  }

  // ---- chunks of a file ----

  #followFile(node: NodeId, chunk: number, chunks: readonly StoredChunk[]): void {
    const reader = remembered(this.#files, node, (): FileReader => ({ run: 0, window: 0, chunk: -1 }));
    // Several reads wait for the same chunk.
    if (chunk === reader.chunk) return;
    const isNext = chunk > reader.chunk && chunk <= reader.chunk + reader.window + 1;
    reader.run = isNext ? reader.run + 1 : 1;
    reader.window = reader.run < CHUNKS_IN_A_ROW ? 0 : Math.min(MAX_CHUNKS, Math.max(1, 2 * reader.window));
    reader.chunk = chunk;
    let bytes = 0;
    for (const next of chunks.slice(chunk + 1, chunk + 1 + reader.window)) {
      bytes += next.sizeBytes;
      if (bytes > MAX_CHUNK_BYTES) break;
      if (this.#fetch(next)) this.#counters.chunks++;
    }
  }

  // ---- files of a directory ----

  #followDirectory(node: NodeId): void {
    const reader = this.#directories.find(
      (one) => (one.seed === undefined || isNear(one.seed, node)) && this.#aheadOf(one).includes(node),
    );
    if (reader === undefined) {
      this.#directories.unshift(this.#newReader(node));
      for (const gone of this.#directories.splice(MAX_READERS)) this.#giveUp(gone);
    } else {
      this.#pass(reader, node);
    }
    const [first] = this.#directories;
    if (first !== undefined && first.run >= FILES_IN_A_ROW) this.#fetchFiles(first);
  }

  /** Whoever has read one directory to its end goes on with the next in the same way. */
  #newReader(node: NodeId): DirectoryReader {
    const [former] = this.#directories;
    const goesOn = former !== undefined && isAtEnd(former) && former.run >= FILES_IN_A_ROW;
    const [run, window] = goesOn ? [former.run, former.window] : [1, FIRST_FILES];
    const crosses = goesOn && isNear(former.last, node);
    return { crosses, run, window, seed: node, ahead: [], fetched: [], last: node };
  }

  /** Most files are not read in order: who reads them should not pay for looking. */
  #aheadOf(reader: DirectoryReader): NodeId[] {
    if (reader.seed !== undefined) reader.ahead = this.#behind(reader, reader.seed, LOOKED_AHEAD);
    reader.seed = undefined;
    return reader.ahead;
  }

  #behind({ crosses }: DirectoryReader, node: NodeId, count: number): NodeId[] {
    return crosses ? this.#vfs.filesBehindInCatalog(node, count) : this.#vfs.filesBehind(node, count);
  }

  /** The reader is at this file now; those before it should have been read, and so be here. */
  #pass(reader: DirectoryReader, node: NodeId): void {
    const index = reader.ahead.indexOf(node);
    const passed = reader.ahead.splice(0, index + 1);
    // Those that were fetched are here, or will be.
    const known = reader.fetched.splice(0, index + 1).length;
    const isNext = passed.slice(known, -1).every((one) => this.#isHere(one));
    if (isNext) {
      reader.run++;
      reader.window = Math.min(MAX_FILES, 2 * reader.window);
    } else {
      this.#giveUp(reader);
      reader.run = 1;
      reader.window = FIRST_FILES;
    }
    reader.last = node;
    const at = this.#directories.indexOf(reader);
    this.#directories.splice(at, 1);
    this.#directories.unshift(reader);
    if (reader.ahead.length < Math.max(LOOKED_AHEAD, reader.window)) {
      reader.ahead.push(...this.#behind(reader, reader.ahead.at(-1) ?? node, reader.window));
    }
  }

  #fetchFiles(reader: DirectoryReader): void {
    const ahead = this.#aheadOf(reader);
    const end = Math.min(ahead.length, reader.window);
    let bytes = reader.fetched.reduce((sum, sizeBytes) => sum + sizeBytes, 0);
    for (let index = reader.fetched.length; index < end && bytes < MAX_FILE_BYTES; index++) {
      const node = ahead[index]!;
      const chunks = this.#vfs.chunksOf(node);
      const [first] = chunks;
      const isHanded = chunks.length === 1 && this.#isHanded(first!);
      const isFetched = first !== undefined && this.#fetch(first, isHanded ? node : undefined);
      if (isHanded && !isFetched) this.#objects.filler?.offer(first!.need, node);
      reader.fetched.push(isFetched ? first.sizeBytes : 0);
      bytes += reader.fetched.at(-1)!;
      if (isFetched) this.#counters.files++;
    }
  }

  /** Whether the kernel gets it, if it is the next one ahead. */
  #isHanded({ sizeBytes, need }: StoredChunk): boolean {
    if (this.#objects.filler?.handsOver !== true || need.external !== undefined) return false;
    // What the kernel has is read unseen.
    if (this.#objects.onTouch !== undefined) return false;
    if (sizeBytes > MAX_HANDED_BYTES || ++this.#ahead % ASKED_FOR_EVERY === 0) return false;
    this.#counters.handed++;
    return true;
  }

  #giveUp(reader: DirectoryReader): void {
    for (const sizeBytes of reader.fetched.splice(0)) this.#counters.wastedBytes += sizeBytes;
  }

  #isHere(node: NodeId): boolean {
    const [first] = this.#vfs.chunksOf(node);
    return first === undefined || this.#objects.isAtHand(cacheIdOf(first.hash, first.need.compression));
  }

  /** False if there is nothing to fetch. */
  #fetch({ need, sizeBytes }: StoredChunk, node?: NodeId): boolean {
    if (need.external !== undefined) return false;
    if (this.#objects.isAtHand(cacheIdOf(need.hash, need.compression))) return false;
    this.#objects.fetch(need, { background: true, isMissing: true, node }).catch(passedOver);
    this.#counters.bytes += sizeBytes;
    return true;
  }

  // ---- catalogs ----

  /** Into the cache alone: the order in which they are attached is that of the readers. */
  #fetchCatalogs(walker: CatalogWalker, parent: Slot): void {
    const end = Math.min(walker.references.length, walker.last + 1 + walker.window);
    let bytes = 0;
    for (let index = Math.max(walker.frontier, walker.last + 1); index < end; index++) {
      const { hash, path, sizeBytes } = walker.references[index]!;
      bytes += sizeBytes;
      if (bytes > MAX_CATALOG_AHEAD_BYTES) return;
      walker.frontier = index + 1;
      if (this.#vfs.catalogs.find((parent.base + path) as ByteString, hash) !== undefined) continue;
      this.#objects
        .load(hash, 'C', catalogLimit(sizeBytes), `catalog of ${path}`, { background: true })
        .catch(passedOver);
      this.#counters.catalogs++;
    }
  }
}

/** What is left of its directory has been fetched: reading it was not seen here. */
function isAtEnd({ seed, ahead, fetched }: DirectoryReader): boolean {
  return seed === undefined && ahead.length < LOOKED_AHEAD && fetched.length >= ahead.length;
}

/** Whether one file may stand a little behind another in a directory: nodes of a catalog are in the order of its rows. */
function isNear(node: NodeId, next: NodeId): boolean {
  return next > node && next - node <= MAX_ROWS_BETWEEN;
}

/** Whoever needs it asks again, and is told what is wrong. */
function passedOver(): void {}

function walkerOf({ references }: Slot): CatalogWalker {
  const sorted = [...references.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  return { run: 0, window: 0, references: sorted, last: -1, frontier: 0 };
}

/** Of a small map, the entry of a key; the one that came first makes room for a new one. */
function remembered<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    if (map.size === MAX_READERS) map.delete(map.keys().next().value!);
    map.set(key, value);
  }
  return value;
}
