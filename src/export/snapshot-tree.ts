/**
 * A snapshot as a tree: what was published, to be written out or to be published elsewhere. Contents are fetched a bounded
 * way ahead of whoever reads, so that a distant server is not waited for file by file.
 */

import { cacheIdOf } from '../client/cache.ts';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Objects } from '../client/objects.ts';
import type { StoredChunk } from '../client/stored-file.ts';
import { type WalkedEntry, walkSnapshot } from '../client/walk.ts';
import type { ByteString, Bytes } from '../core/bytes/byte-string.ts';
import type { Xattrs } from '../core/catalog/xattrs.ts';
import { assert, ThimbleError } from '../core/errors.ts';
import type { Tree, TreeEntry } from '../core/tree.ts';
import { type NodeId, S_IFBLK, S_IFCHR, S_IFLNK, S_IFMT, S_IFREG } from '../core/vfs.ts';
import type { SpoolCache } from './spool-cache.ts';

/** Ahead of the reader: objects, their bytes, and steps of any kind. */
const AHEAD_OBJECTS = 64;
const AHEAD_BYTES = 64 * 1024 * 1024;
const AHEAD_STEPS = 4096;
const READ_BYTES = 1024 * 1024;
const NO_XATTRS: Xattrs = new Map();

export interface SnapshotTreeOptions {
  readonly mounted: MountedSnapshot;
  /** Fills `spool`. */
  readonly objects: Objects;
  readonly spool: SpoolCache;
  /** The directory that becomes the root; the snapshot's own where it is missing. */
  readonly from?: WalkedEntry;
  /** Symlinks as a mount shows them, variables replaced; else as they were published. */
  readonly expandSymlinks?: boolean;
}

/** An entry, or the next piece of the file that came last. */
type Step = EntryStep | { readonly kind: 'chunk'; readonly chunk: StoredChunk };

interface EntryStep {
  readonly kind: 'entry';
  readonly entry: TreeEntry;
  /** Pieces that follow. */
  readonly chunks: number;
}

type FetchedStep = Step & { readonly fetched: Promise<void> | undefined };

/** Parents come before children, siblings in byte order. `entries` throws as `MountedSnapshot.fulfil` does. */
export class SnapshotTree implements Tree {
  readonly name: string;
  readonly #options: SnapshotTreeOptions;

  constructor(name: string, options: SnapshotTreeOptions) {
    this.name = name;
    this.#options = options;
  }

  async *entries(): AsyncGenerator<TreeEntry> {
    const steps = this.#fetchedSteps();
    for await (const step of steps) {
      if (step.kind === 'entry') yield this.#withContent(step, steps);
      // Of a file that nobody wanted to read to its end.
      else this.#release(step.chunk);
    }
  }

  #withContent({ entry, chunks }: EntryStep, steps: AsyncGenerator<FetchedStep>): TreeEntry {
    if (entry.content === undefined) return entry;
    return { ...entry, content: { ...entry.content, kind: 'stream', chunks: this.#content(steps, chunks) } };
  }

  async *#content(steps: AsyncGenerator<FetchedStep>, count: number): AsyncGenerator<Bytes> {
    for (let left = count; left > 0; left--) {
      const { value } = await steps.next();
      assert(value?.kind === 'chunk', 'a file has as many pieces as were announced with it');
      try {
        await value.fetched;
        yield* this.#read(value.chunk);
      } finally {
        this.#release(value.chunk);
      }
    }
  }

  #release({ hash, need }: StoredChunk): void {
    this.#options.spool.release(cacheIdOf(hash, need.compression));
  }

  *#read({ hash, need, sizeBytes }: StoredChunk): Generator<Bytes> {
    const id = cacheIdOf(hash, need.compression);
    for (let position = 0; position < sizeBytes; ) {
      const piece = new Uint8Array(Math.min(READ_BYTES, sizeBytes - position));
      const count = this.#options.objects.read(id, position, piece.length, piece, 0);
      if (count !== piece.length) {
        throw new ThimbleError('STORAGE', `Cannot read ${need.label}: object ${hash} did not stay at hand`);
      }
      yield piece;
      position += count;
    }
  }

  /** Steps whose objects are on their way: as many as the limits allow, one in any case. */
  async *#fetchedSteps(): AsyncGenerator<FetchedStep> {
    const source = this.#steps();
    const queue: FetchedStep[] = [];
    let objects = 0;
    let bytes = 0;
    const isFull = () => objects >= AHEAD_OBJECTS || bytes >= AHEAD_BYTES || queue.length >= AHEAD_STEPS;
    for (let isDone = false; ; ) {
      while (!isDone && !isFull()) {
        const next = await source.next();
        if (next.done) isDone = true;
        else queue.push(this.#start(next.value));
        if (!next.done && next.value.kind === 'chunk') {
          objects++;
          bytes += next.value.chunk.sizeBytes;
        }
      }
      const step = queue.shift();
      if (step === undefined) return;
      yield step;
      if (step.kind !== 'chunk') continue;
      objects--;
      bytes -= step.chunk.sizeBytes;
    }
  }

  #start(step: Step): FetchedStep {
    if (step.kind === 'entry') return { ...step, fetched: undefined };
    const { hash, need } = step.chunk;
    this.#options.spool.retain(cacheIdOf(hash, need.compression));
    const fetched = this.#options.objects.fetch(need);
    // Whoever reads this piece gets the failure; until then it must not count as unhandled.
    fetched.catch(() => {});
    return { ...step, fetched };
  }

  async *#steps(): AsyncGenerator<Step> {
    const { mounted, from } = this.#options;
    // Names of one file are all in one directory, and directories come one after the other.
    const linked = new Set<NodeId>();
    for await (const walked of walkSnapshot(mounted, from)) {
      const { mode, linkCount, sizeBytes } = walked.attributes;
      const entry = this.#describe(walked, from?.path.length ?? 0);
      const isFile = (mode & S_IFMT) === S_IFREG;
      const isKnown = linked.has(walked.node);
      if (isFile && linkCount > 1) linked.add(walked.node);
      if (!isFile || isKnown) {
        yield { kind: 'entry', entry, chunks: 0 };
        continue;
      }
      const chunks = mounted.vfs.chunksOf(walked.node).filter((chunk) => chunk.sizeBytes > 0);
      const content = { kind: 'stream', sizeBytes, chunks: noBytes } as const;
      yield { kind: 'entry', entry: { ...entry, content }, chunks: chunks.length };
      for (const chunk of chunks) yield { kind: 'chunk', chunk };
    }
  }

  #describe({ path, node, attributes }: WalkedEntry, prefixLength: number): TreeEntry {
    const { vfs } = this.#options.mounted;
    const { mode, uid, gid, mtimeSeconds, mtimeNs, rdev, linkCount } = attributes;
    const kind = mode & S_IFMT;
    const names = vfs.listxattr(node);
    return {
      path: path.slice(prefixLength) as ByteString,
      mode,
      uid,
      gid,
      mtimeSeconds,
      mtimeNs,
      symlink: kind === S_IFLNK ? this.#symlink(node) : ('' as ByteString),
      rdev: kind === S_IFCHR || kind === S_IFBLK ? rdev : 0,
      xattrs:
        names.length === 0 ? NO_XATTRS : new Map(names.map((name) => [name, vfs.getxattr(node, name)!])),
      linkKey: kind === S_IFREG && linkCount > 1 ? String(node) : undefined,
      content: undefined,
    };
  }

  #symlink(node: NodeId): ByteString {
    const { mounted, expandSymlinks } = this.#options;
    return (
      (expandSymlinks ? mounted.vfs.readlink(node) : mounted.vfs.rowOf(node)?.symlink) ?? ('' as ByteString)
    );
  }
}

const noBytes: AsyncIterable<Bytes> = { async *[Symbol.asyncIterator]() {} };
