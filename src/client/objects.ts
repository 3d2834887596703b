/**
 * Objects of a repository, by hash: fetched, verified, inflated, and put into the cache. Nothing is visible before its
 * hash and its size are right; an object that is on its way is not asked for twice.
 */

import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import {
  algorithmOf,
  type ContentHash,
  contentHashOf,
  hashBytes,
  type ObjectType,
  objectPath,
} from '../core/content-hash.ts';
import { errorCodeOf, ThimbleError } from '../core/errors.ts';
import { type Hashing, type Inflating, type Log, silentLog } from '../core/ports.ts';
import type { NodeId, ObjectNeed } from '../core/vfs.ts';
import { type CacheId, cacheIdOf, MemoryCache, type ObjectCache } from './cache.ts';
import type { Filler } from './filler.ts';
import type { Servers } from './network/servers.ts';
import type { FetchOptions as ServersFetchOptions } from './network/servers-options.ts';
import type { SourceFile } from './network/source.ts';
import { Urgency } from './network/urgency.ts';
import type { Arrivals } from './profile/arrivals.ts';
import { Slab } from './slab.ts';

/** Objects up to this are taken whole and inflated at once, which is fastest; larger ones stream. */
const WHOLE_BYTES = 1024 * 1024;
/** Objects up to this may be asked for one behind the other, before the first of them has come. */
const SHORT_BYTES = 128 * 1024;
/** What stays readable when the disk is full. */
const MEMORY_BYTES = 64 * 1024 * 1024;
/** Content that may wait to be put into the cache; more than one whole object. */
const PENDING_BYTES = 2 * 1024 * 1024;

export interface ObjectsPorts {
  readonly hashing: Hashing;
  readonly inflating: Inflating;
  readonly log?: Log;
  /** The servers of external data, if any are known. */
  readonly external?: Servers | undefined;
  /** Does work when nobody waits for an answer any more. Without, content is put into the cache before it is answered with. */
  readonly later?: ((work: () => void) => void) | undefined;
  /** Objects up to this are taken whole; `WHOLE_BYTES` where it is missing. */
  readonly wholeBytes?: number;
}

export interface FetchOptions {
  /** Ahead of need: real reads come first. */
  readonly background?: boolean;
  /** Whoever asks has just seen that it is not here. */
  readonly isMissing?: boolean;
  /** The file that this is all of, where the kernel may have it before anybody reads it. */
  readonly node?: NodeId | undefined;
  /** When whoever asks does not want to wait any longer, on the clock's `monotonicMs`; see `untilMs()`. */
  readonly untilMs?: number | undefined;
}

interface Metadata {
  readonly hash: ContentHash;
  readonly type: ObjectType;
  readonly limitBytes: number;
  readonly label: string;
}

const NO_OPTIONS: FetchOptions = {};

export class Objects {
  readonly #servers: Servers;
  readonly #external: Servers | undefined;
  readonly #wholeBytes: number;
  readonly #cache: ObjectCache;
  readonly #fallback = new MemoryCache(MEMORY_BYTES);
  readonly #hashing: Hashing;
  readonly #inflating: Inflating;
  readonly #log: Log;
  readonly #underWay = new Map<CacheId, Promise<void>>();
  readonly #loading = new Map<CacheId, Promise<Bytes>>();
  /** What is under way, and was begun ahead of need. */
  readonly #ahead = new Map<CacheId, Urgency>();
  readonly #later: ((work: () => void) => void) | undefined;
  /** Verified, and not in the cache yet: readers do not wait for the disk. */
  readonly #pending = new Map<CacheId, Bytes>();
  readonly #slab = new Slab(PENDING_BYTES);
  /** Times that content could not be kept on disk and was served from memory. */
  storageFailures = 0;
  /** What a stream is about to bring: reads of that wait for it. */
  arrivals: Pick<Arrivals, 'expect' | 'has'> | undefined;
  /** Takes work off this thread. */
  filler: Filler | undefined;
  /** Hears of every object that a read asks for, also of those that are here. */
  onTouch: ((hash: ContentHash, isCatalog: boolean) => void) | undefined;

  constructor(servers: Servers, cache: ObjectCache, ports: ObjectsPorts) {
    this.#servers = servers;
    this.#external = ports.external;
    this.#wholeBytes = ports.wholeBytes ?? WHOLE_BYTES;
    this.#cache = cache;
    this.#hashing = ports.hashing;
    this.#inflating = ports.inflating;
    this.#later = ports.later;
    this.#log = ports.log ?? silentLog;
  }

  /** Reads content that is at hand, as `ObjectCache.read` does; also what could not be put on disk. */
  read(id: CacheId, position: number, length: number, into: Bytes, at: number): number | undefined {
    const pending = this.#pending.get(id)?.subarray(position, position + length);
    if (pending !== undefined) {
      into.set(pending, at);
      return pending.length;
    }
    return (
      this.#cache.read(id, position, length, into, at) ?? this.#fallback.read(id, position, length, into, at)
    );
  }

  /** As `ObjectCache.discard` does. */
  discard(id: CacheId): void {
    this.#cache.discard?.(id);
  }

  /** Whether a metadata object is at hand. */
  has(hash: ContentHash): boolean {
    const id = cacheIdOf(hash, 'zlib');
    return this.#isHere(id) || this.#fallback.has(id);
  }

  /** When somebody who begins to wait now has waited long enough, on the clock's `monotonicMs`. */
  untilMs(): number {
    return this.#servers.untilMs();
  }

  /** True if an object is here, on its way, or about to arrive in a stream: there is nothing to fetch ahead. */
  isAtHand(id: CacheId): boolean {
    return this.#underWay.has(id) || this.#isHere(id) || this.arrivals?.has(id) === true;
  }

  /**
   * Brings an object into the cache. Throws NETWORK, NOT_FOUND, INTEGRITY, FORMAT, LIMIT, and UNSUPPORTED for external data
   * without a server of it. In the background: nobody waits for it yet.
   */
  fetch(need: ObjectNeed, options: FetchOptions = NO_OPTIONS): Promise<void> {
    const id = cacheIdOf(need.hash, need.compression);
    const { background = false } = options;
    if (!background) this.onTouch?.(need.hash, false);
    const underWay = this.#underWay.get(id);
    if (underWay !== undefined) {
      return background ? underWay : this.#joined(id, underWay, () => this.fetch(need, options));
    }
    if (options.isMissing !== true && this.#isHere(id)) return Promise.resolve();
    const arriving = background ? undefined : this.arrivals?.expect(id);
    const wanted = this.#wanted(id, options, need.sizeBytes);
    const fetching = (
      arriving === undefined
        ? this.#fetch(id, need, wanted, options.node)
        : arriving.then(() => (this.#isHere(id) ? undefined : this.#fetch(id, need, wanted, options.node)))
    ).finally(() => {
      this.#underWay.delete(id);
      if (background) this.#ahead.delete(id);
    });
    this.#underWay.set(id, fetching);
    return fetching;
  }

  /**
   * What is under way already. If it was begun ahead of need, it is hurried, and asked for once more where it ends too early: its
   * deadline was an earlier one.
   */
  #joined<T>(id: CacheId, underWay: Promise<T>, again: () => Promise<T>): Promise<T> {
    const urgency = this.#ahead.get(id);
    if (urgency === undefined) return underWay;
    urgency.raise();
    this.filler?.hurry();
    return underWay.catch((error: unknown) => {
      if (errorCodeOf(error) !== 'NETWORK') throw error;
      return again();
    });
  }

  /** What servers are told of how urgent a request is. */
  #wanted(id: CacheId, options: FetchOptions, sizeBytes = Number.POSITIVE_INFINITY): ServersFetchOptions {
    if (options.background !== true) return options;
    const urgency = new Urgency(sizeBytes <= SHORT_BYTES);
    this.#ahead.set(id, urgency);
    return { ...options, urgency };
  }

  /**
   * The whole content of a metadata object (catalog, history, certificate), from the cache or the servers. Sizes that
   * catalogs and manifests give for these are hints only; the hash decides. Throws like `fetch`.
   */
  async load(
    hash: ContentHash,
    type: ObjectType,
    limitBytes: number,
    label: string,
    options: FetchOptions = NO_OPTIONS,
  ): Promise<Bytes> {
    const { background = false } = options;
    const id = cacheIdOf(hash, 'zlib');
    if (!background && type === 'C') this.onTouch?.(hash, true);
    const cached = this.#cached(id);
    if (cached !== undefined) return cached;
    const underWay = this.#loading.get(id);
    if (underWay !== undefined) {
      if (background) return underWay;
      return this.#joined(id, underWay, () => this.load(hash, type, limitBytes, label, options));
    }
    const arriving = background ? undefined : this.arrivals?.expect(id);
    const what: Metadata = { hash, type, limitBytes, label };
    const wanted = this.#wanted(id, options);
    const loading = (
      arriving === undefined
        ? this.#load(id, what, wanted)
        : arriving.then(() => this.#cached(id) ?? this.#load(id, what, wanted))
    ).finally(() => {
      this.#loading.delete(id);
      if (background) this.#ahead.delete(id);
    });
    this.#loading.set(id, loading);
    return loading;
  }

  #cached(id: CacheId): Bytes | undefined {
    const pending = this.#pending.get(id);
    // Its memory is used again.
    if (pending !== undefined) return new Uint8Array(pending);
    return this.#cache.load(id) ?? this.#fallback.load(id);
  }

  #load(
    id: CacheId,
    { hash, type, limitBytes, label }: Metadata,
    wanted: ServersFetchOptions,
  ): Promise<Bytes> {
    const consume = async (file: SourceFile) => {
      const stored = await readWhole(file, limitBytes);
      this.#verify(hash, stored, { hash, label });
      const content = this.#inflating.inflate(stored, limitBytes);
      this.#store(id, content);
      return content;
    };
    return this.#servers.fetch(objectPath(hash, type), consume, undefined, wanted);
  }

  async #fetch(
    id: CacheId,
    need: ObjectNeed,
    wanted: ServersFetchOptions,
    node: NodeId | undefined,
  ): Promise<void> {
    if (need.sizeBytes <= this.#wholeBytes) {
      await this.#ask(need, wanted, async (file) => {
        const stored = await readWhole(file, storedLimit(need.sizeBytes));
        const isAhead = wanted.urgency?.isRaised === false;
        const filling = isAhead ? this.filler?.fill(need, stored, node) : undefined;
        if (filling === undefined || !(await filling)) this.#accept(id, need, stored);
      });
      return;
    }
    try {
      await this.#ask(need, wanted, (file) => this.#receiveStream(need, file, this.#cache));
    } catch (error) {
      if (!(error instanceof ThimbleError) || error.code !== 'STORAGE' || need.sizeBytes > MEMORY_BYTES)
        throw error;
      this.#onStorageFailure(error);
      await this.#ask(need, wanted, (file) => this.#receiveStream(need, file, this.#fallback));
    }
  }

  /** Asks those servers that have what is needed. */
  async #ask(
    need: ObjectNeed,
    wanted: ServersFetchOptions,
    consume: (file: SourceFile) => Promise<void>,
  ): Promise<void> {
    const { external } = need;
    if (external === undefined) {
      return this.#servers.fetch(objectPath(need.hash, need.type), consume, undefined, wanted);
    }
    if (this.#external !== undefined) {
      return this.#external.fetch(external.path, consume, external.range, wanted);
    }
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot read ${labelOf(need)}: its content is on an external server`,
      {
        hint: 'name that server with --external-server',
      },
    );
  }

  /** What was sent is looked at, inflated and kept in one go: nobody else uses the memory meanwhile. */
  #accept(id: CacheId, need: ObjectNeed, stored: Bytes): void {
    this.#verify(need.hash, stored, need);
    const { sizeBytes } = need;
    // One byte more tells content that is too long.
    const memory = this.#slab.take(sizeBytes + 1) ?? this.#flushed(sizeBytes + 1);
    let length = stored.length;
    if (need.compression !== 'none') length = this.#inflating.inflateInto(stored, memory);
    else if (length === sizeBytes) memory.set(stored);
    if (length !== sizeBytes) throw wrongSize(labelOf(need), length, sizeBytes);
    this.#keep(id, memory.subarray(0, sizeBytes));
  }

  async #receiveStream(need: ObjectNeed, file: SourceFile, cache: ObjectCache): Promise<void> {
    const algorithm = algorithmOf(need.hash);
    const hasher = this.#hashing.createHasher(algorithm);
    const limit = storedLimit(need.sizeBytes);
    const writer = cache.create(cacheIdOf(need.hash, need.compression), need.sizeBytes);
    const inflater = need.compression === 'none' ? undefined : this.#inflating.createInflater();
    let received = 0;
    let produced = 0;
    const emit = (content: Bytes) => {
      produced += content.length;
      if (produced > need.sizeBytes) throw wrongSize(labelOf(need), produced, need.sizeBytes);
      writer.write(content);
    };
    try {
      for (let chunk = await file.next(); chunk !== undefined; chunk = await file.next()) {
        received += chunk.length;
        if (received > limit) throw wrongSize(labelOf(need), received, limit);
        hasher.update(chunk);
        emit(inflater === undefined ? chunk : await inflater.push(chunk));
      }
      if (inflater !== undefined) emit(await inflater.end());
      const actual = contentHashOf(algorithm, hasher.digest());
      if (actual !== need.hash) throw wrongHash(labelOf(need), need.hash, actual);
      if (produced !== need.sizeBytes) throw wrongSize(labelOf(need), produced, need.sizeBytes);
      writer.commit();
    } catch (error) {
      writer.abort();
      throw error;
    } finally {
      inflater?.close();
    }
  }

  #isHere(id: CacheId): boolean {
    return this.#pending.has(id) || this.#cache.has(id);
  }

  /** Puts all that waits for it into the cache. */
  flush(): void {
    for (const [id, content] of this.#pending) this.#store(id, content);
    this.#pending.clear();
    this.#slab.reset();
  }

  /** Memory for an object when there was none left. */
  #flushed(sizeBytes: number): Bytes {
    this.flush();
    return this.#slab.take(sizeBytes) ?? new Uint8Array(sizeBytes);
  }

  #keep(id: CacheId, content: Bytes): void {
    this.#pending.set(id, content);
    if (this.#later === undefined) this.flush();
    else if (this.#pending.size === 1) this.#later(() => this.flush());
  }

  /** Puts content on disk, or in memory if the disk fails. */
  #store(id: CacheId, content: Bytes): void {
    try {
      this.#cache.put(id, content);
    } catch (error) {
      this.#onStorageFailure(error);
      this.#fallback.put(id, content);
    }
  }

  #onStorageFailure(error: unknown): void {
    this.storageFailures++;
    this.#log.warn('cache cannot be written, serving from memory', { error: String(error) });
  }

  #verify(hash: ContentHash, stored: Bytes, what: Labelled): void {
    const actual = hashBytes(this.#hashing, algorithmOf(hash), stored);
    if (actual !== hash) throw wrongHash(labelOf(what), hash, actual);
  }
}

/** zlib grows incompressible data by 5 bytes per 16 kB and a little; anything longer is not the object. */
export function storedLimit(sizeBytes: number): number {
  return sizeBytes + Math.ceil(sizeBytes / 1000) + 64;
}

/** Its label may take long to find out: nobody does unless there is something to complain of. */
type Labelled = Pick<ObjectNeed, 'hash' | 'label'>;

function labelOf({ hash, label }: Labelled): string {
  return label ?? hash;
}

function wrongHash(label: string, wanted: ContentHash, actual: ContentHash): ThimbleError {
  return new ThimbleError(
    'INTEGRITY',
    `Cannot use object ${wanted} (${label}): its content hashes to ${actual}`,
    {
      details: { wanted, actual },
    },
  );
}

function wrongSize(label: string, actual: number, wanted: number): ThimbleError {
  return new ThimbleError(
    'INTEGRITY',
    `Cannot use object of ${label}: it has ${actual} bytes, ${wanted} expected`,
    {
      details: { actual, wanted },
    },
  );
}

/** Everything of a file, up to a limit. Throws LIMIT beyond it, at once where the source says how long it is. */
export async function readWhole(file: SourceFile, limitBytes: number): Promise<Bytes> {
  const chunks: Bytes[] = [];
  if ((file.sizeBytes ?? 0) > limitBytes) throw tooLong(limitBytes);
  let length = 0;
  for (let chunk = await file.next(); chunk !== undefined; chunk = await file.next()) {
    length += chunk.length;
    if (length > limitBytes) throw tooLong(limitBytes);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : concatBytes(chunks);
}

function tooLong(limitBytes: number): ThimbleError {
  return new ThimbleError(
    'LIMIT',
    `Cannot use response: it is longer than the ${limitBytes} bytes expected at most`,
  );
}
