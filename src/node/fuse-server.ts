/**
 * Serves a mounted snapshot on a FUSE descriptor: starts the worker thread, hands it every catalog, and answers the
 * requests that have to wait for something.
 */

import { MessageChannel, Worker } from 'node:worker_threads';
import type { CacheId } from '../client/cache.ts';
import type { CatalogAtHand, CatalogFile, CatalogName, MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { inTime } from '../core/cancellation.ts';
import type { CatalogReader } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { EINTR, EIO, errnoOf } from '../core/errno.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/ports.ts';
import type { Need, NodeId } from '../core/vfs.ts';
import { FUSE_INTERRUPT, FuseInHeader, FuseInterruptIn } from '../fuse/abi.ts';
import type { Negotiated } from '../fuse/negotiation.ts';
import {
  encodeIncrementEpoch,
  encodeInvalidateEntry,
  encodeInvalidateInode,
  encodeResend,
} from '../fuse/notifications.ts';
import { OPERATIONS } from '../fuse/operations.ts';
import type { Ownership } from '../fuse/ownership.ts';
import { hasPassthrough } from '../fuse/passthrough.ts';
import {
  ELSEWHERE,
  FuseSession,
  LATER,
  type MagicXattrs,
  NO_REPLY,
  REPLY_BUFFER_BYTES,
} from '../fuse/session.ts';
import type { BackedFiles } from './backed-files.ts';
import { type CacheReaderSettings, readerOf } from './cache/folder-reader.ts';
import { CatalogShelf, type SharedCatalog } from './catalog-files.ts';
import { nodeClock } from './clock.ts';
import { FailedWaits } from './failed-waits.ts';
import { FuseNotifier } from './fuse-notifier.ts';
import {
  ANSWERS,
  countsIn,
  type ForwardedRequest,
  type FuseWorkerData,
  KNOWS,
  type Move,
  paceIn,
  type ReadInOrder,
  recordingIn,
  type Settled,
  SHARED_BUSY_MS,
  SHARED_BYTES,
  SHARED_CATALOGS,
  SHARED_REQUESTS,
  SHARED_VALID_SECONDS,
  send,
  type Touched,
} from './fuse-worker.ts';

export interface FuseServerOptions {
  /** The file that calls `runFuseWorker` when it is run as a worker thread. */
  readonly workerFile: string | URL;
  /** For the worker to read, where `cacheReader` says no more. */
  readonly cacheFolder?: string | undefined;
  readonly cacheReader?: CacheReaderSettings | undefined;
  /** Has the cache write what it has not written yet. */
  readonly flushCache?: () => void;
  /** How long the kernel may keep names and attributes, to begin with. */
  readonly validSeconds: number;
  /** The outcome of INIT, if another process has served this descriptor before. */
  readonly negotiated?: Negotiated | undefined;
  readonly onNegotiated?: (negotiated: Negotiated) => void;
  readonly withoutXattrs?: boolean;
  readonly directIo?: boolean;
  /** Files that the kernel reads by itself. */
  readonly passthrough?: BackedFiles | undefined;
  /** Symlink variables; `undefined` shows symlinks as they were published. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  /** Attributes that no catalog has. */
  readonly magicXattrs?: MagicXattrs | undefined;
  /** Whom files belong to, if not to whom they were published for. */
  readonly ownership?: Ownership | undefined;
  readonly log?: Log;
}

export interface FuseStatistics {
  /** Requests answered at once, by the worker. */
  readonly requests: number;
  /** Requests that had to wait for a fetch. */
  readonly waits: number;
  /** Milliseconds in which at least one process waited for an answer. */
  readonly waitedMs: number;
}

/** What the kernel has asked, and how it was agreed with. */
export interface FuseStatus extends FuseStatistics {
  /** Requests that wait now. */
  readonly waiting: number;
  /** Requests answered by the worker or handed on, by operation: `LOOKUP`, `READ`, ... */
  readonly operations: Readonly<Record<string, number>>;
  readonly validSeconds: number;
  readonly negotiated: Negotiated | undefined;
}

type ForwardedNeed = NonNullable<ForwardedRequest['need']>;

/** A request loops at most this often through "needs one more thing": catalogs on the way, then chunks. */
const MAX_NEEDS = 10_000;

interface Waiting {
  interrupted: boolean;
  /** Who waits. */
  readonly thread: number;
}

export class FuseServer {
  /** Resolves when the file system has been unmounted; rejects if the worker failed. */
  readonly closed: Promise<void>;
  readonly #options: FuseServerOptions;
  readonly #log: Log;
  readonly #channel = new MessageChannel();
  readonly #shelf: CatalogShelf;
  readonly #shared = new SharedArrayBuffer(SHARED_BYTES);
  readonly #validSeconds = new Uint32Array(this.#shared, 4 * SHARED_VALID_SECONDS, 1);
  readonly #waiting = new Map<bigint, Waiting>();
  readonly #failed = new FailedWaits();
  #fd = -1;
  #notifier: FuseNotifier | undefined;
  #negotiated: Negotiated | undefined;
  #session: FuseSession | undefined;
  #mounted: MountedSnapshot | undefined;
  #onTouched: ((id: CacheId) => void) | undefined;
  #recordings = 0;
  #waits = 0;
  #waitedMs = 0;
  #waitingSinceMs = 0;
  #resolveClosed: () => void = () => {};
  #rejectClosed: (error: unknown) => void = () => {};
  readonly #reply = Buffer.allocUnsafeSlow(REPLY_BUFFER_BYTES);

  constructor(options: FuseServerOptions) {
    this.#options = options;
    this.#log = options.log ?? silentLog;
    this.#negotiated = options.negotiated;
    this.#shelf = new CatalogShelf(options.cacheReader ?? readerOf(options.cacheFolder));
    this.setValidSeconds(options.validSeconds);
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve;
      this.#rejectClosed = reject;
    });
  }

  /** To be passed to `MountedSnapshot.open`: shares each catalog with the worker. */
  readonly onCatalog = (file: CatalogFile): CatalogReader => {
    const { reader, shared } = this.#shelf.put(file, this.#options.flushCache ?? (() => {}));
    this.#tellWorker(shared);
    return reader;
  };

  /** A catalog that the cache has, and vouches for, and that nobody needs to load; `use` shares it with the worker. */
  catalogAtHand(name: CatalogName): (CatalogAtHand & { readonly sizeBytes: number }) | undefined {
    const found = this.#shelf.find(name);
    return found && { ...found, use: () => this.#tellWorker(found.shared) };
  }

  /** To be passed to `MountedSnapshot.open`: the worker moves along. */
  readonly onMove = (rootCatalog: ContentHash): void => this.#tellWorker({ rootCatalog });

  /** Starts serving. */
  start(fd: number, mounted: MountedSnapshot): void {
    this.#fd = fd;
    this.#notifier = new FuseNotifier(fd);
    this.#mounted = mounted;
    this.#options.passthrough?.start(fd, {
      chunksOf: (node) => mounted.vfs.chunksOf(node),
      onTouched: (id) => this.#onTouched?.(id),
      isAgreed: () => hasPassthrough(this.#negotiated),
    });
    this.#session = new FuseSession(mounted.vfs, {
      validSeconds: this.#validSeconds[0]!,
      withoutXattrs: this.#options.withoutXattrs ?? false,
      directIo: this.#options.directIo ?? false,
      passthrough: this.#options.passthrough,
      negotiated: this.#negotiated,
      magicXattrs: this.#options.magicXattrs,
      ownership: this.#options.ownership,
      log: this.#log,
    });
    const data: FuseWorkerData = {
      role: 'fuse-worker',
      fd,
      cache: this.#options.cacheReader ?? readerOf(this.#options.cacheFolder),
      negotiated: this.#options.negotiated,
      withoutXattrs: this.#options.withoutXattrs ?? false,
      directIo: this.#options.directIo ?? false,
      passthroughBytes: this.#options.passthrough?.minimumBytes,
      magicXattrs: this.#options.magicXattrs?.listed,
      ownership: this.#options.ownership,
      variables: this.#options.variables,
      port: this.#channel.port2,
      shared: this.#shared,
    };
    const worker = new Worker(this.#options.workerFile, {
      workerData: data,
      transferList: [this.#channel.port2],
    });
    worker.on('message', (message: ForwardedRequest | Settled | Touched | ReadInOrder) => {
      if ('request' in message) return this.#onRequest(message);
      if ('readInOrder' in message) return mounted.readAhead.onRead(message.readInOrder);
      if ('touched' in message) return this.#onTouched?.(message.touched);
      this.#negotiated = message.negotiated;
      this.#session!.negotiated = message.negotiated;
      this.#options.onNegotiated?.(message.negotiated);
    });
    worker.once('error', (error) => {
      this.#rejectClosed(
        new ThimbleError('INTERNAL', 'The thread that serves the mount failed', { cause: error }),
      );
    });
    worker.once('exit', () => {
      this.#options.passthrough?.end();
      this.#channel.port1.close();
      this.#resolveClosed();
    });
  }

  /** The FUSE device. */
  get fd(): number {
    return this.#fd;
  }

  /** Answers a request that somebody else has read from the descriptor. */
  accept(request: Uint8Array): void {
    const session = this.#session!;
    const length = session.handle(request, request.length, this.#reply);
    if (length === LATER) this.#onRequest({ request, need: session.need });
    else if (length !== NO_REPLY) send(this.#fd, this.#reply, length);
  }

  /** The outcome of INIT: what a process needs to know that is to go on with this descriptor. */
  get negotiated(): Negotiated | undefined {
    return this.#negotiated;
  }

  /** How long the kernel may keep the names and attributes of all replies from now on. */
  setValidSeconds(seconds: number): void {
    this.#validSeconds[0] = seconds;
    if (this.#session !== undefined) this.#session.validSeconds = seconds;
  }

  // The kernel handles notifications in order, and may let them wait for a request that is being answered. Each answers
  // false if the kernel does not know it, or the file system is gone. They throw STORAGE.

  /** The kernel forgets a name, or its absence; with `expireOnly` it asks again when the name is next used. */
  invalidateEntry(
    parent: NodeId,
    name: Bytes,
    { expireOnly = false }: { expireOnly?: boolean } = {},
  ): Promise<boolean> {
    return this.#notify(encodeInvalidateEntry(parent, name, expireOnly));
  }

  /** The kernel forgets attributes and pages: of a file its content, of a directory its listing. */
  invalidateInode(node: NodeId): Promise<boolean> {
    return this.#notify(encodeInvalidateInode(node));
  }

  /** The kernel asks again for every name, each when it is next used. Since protocol 7.44. */
  incrementEpoch(): Promise<boolean> {
    return this.#notify(encodeIncrementEpoch());
  }

  /** Resolves when every request is answered that the worker had begun before it knew of the last move. */
  async settled(): Promise<void> {
    const pace = paceIn(this.#shared);
    const sent = Atomics.load(new Int32Array(this.#shared), SHARED_CATALOGS);
    while (Atomics.load(pace, ANSWERS) === 1 && Atomics.load(pace, KNOWS) !== sent) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Requests that another process has read from this descriptor and not answered come again. Since protocol 7.40. */
  resend(): Promise<boolean> {
    return this.#notify(encodeResend());
  }

  #notify(message: Bytes): Promise<boolean> {
    return this.#notifier === undefined ? Promise.resolve(false) : this.#notifier.send(message);
  }

  statistics(): FuseStatistics {
    const shared = new Float64Array(this.#shared);
    const nowWaitingMs = this.#waiting.size > 0 ? performance.now() - this.#waitingSinceMs : 0;
    return {
      requests: shared[SHARED_REQUESTS]! - this.#waits,
      waits: this.#waits,
      waitedMs: this.#waitedMs + nowWaitingMs + shared[SHARED_BUSY_MS]!,
    };
  }

  status(): FuseStatus {
    const operations: Record<string, number> = {};
    for (const [opcode, count] of countsIn(this.#shared).entries()) {
      if (count > 0) operations[OPERATIONS[opcode]?.name ?? `opcode ${opcode}`] = count;
    }
    return {
      ...this.statistics(),
      waiting: this.#waiting.size,
      operations,
      validSeconds: this.#validSeconds[0]!,
      negotiated: this.#negotiated,
    };
  }

  /** Each object that the worker reads from the cache is told once, from now on, or no more. */
  reportReads(onTouched: ((id: CacheId) => void) | undefined): void {
    this.#onTouched = onTouched;
    if (onTouched !== undefined) this.#recordings++;
    Atomics.store(recordingIn(this.#shared), 0, onTouched === undefined ? 0 : this.#recordings);
  }

  #tellWorker(message: SharedCatalog | Move): void {
    this.#channel.port1.postMessage(message);
    Atomics.add(new Int32Array(this.#shared), SHARED_CATALOGS, 1);
  }

  #onRequest({ request, need }: ForwardedRequest): void {
    const { opcode, unique, pid } = FuseInHeader.decode(request);
    if (opcode === FUSE_INTERRUPT || need === undefined) {
      this.#interrupt(FuseInterruptIn.decode(request, FuseInHeader.size).unique);
      return;
    }
    const waiting: Waiting = { interrupted: false, thread: pid };
    if (this.#waiting.size === 0) this.#waitingSinceMs = performance.now();
    this.#waiting.set(unique, waiting);
    this.#waits++;
    this.#answer(request, need, waiting)
      .catch((error: unknown) => {
        this.#log.error('request failed', { opcode, error: String(error) });
        this.#send(waiting, this.#session!.fail(request, this.#reply, EIO));
      })
      .finally(() => this.#done(unique))
      .catch((error: unknown) => this.#log.error('reply failed', { opcode, error: String(error) }));
  }

  /** Waits until the request can be answered, and answers it. */
  async #answer(request: Uint8Array, firstNeed: ForwardedNeed, waiting: Waiting): Promise<void> {
    const session = this.#session!;
    let need: ForwardedNeed | undefined = firstNeed;
    let untilMs: number | undefined;
    for (let needs = 0; needs < MAX_NEEDS && !waiting.interrupted; needs++) {
      try {
        if (need === ELSEWHERE) await this.#options.magicXattrs?.prepare?.();
        else untilMs = await this.#fulfil(need, waiting, untilMs);
      } catch (error) {
        this.#logFailure(need, error);
        return this.#send(waiting, session.fail(request, this.#reply, errnoOf(error)));
      }
      // The reply buffer is shared by all requests: what is put there is sent before anything else can run.
      const length = session.handle(request, request.length, this.#reply);
      if (length !== LATER || session.need === undefined) return this.#send(waiting, length);
      need = session.need;
    }
    this.#send(waiting, session.fail(request, this.#reply, EIO));
  }

  /** Answers with the deadline of the request, which all its needs have in common: none for the first of them. */
  async #fulfil(need: Need, { thread }: Waiting, deadlineMs: number | undefined): Promise<number> {
    const mounted = this.#mounted!;
    const nowMs = nodeClock.monotonicMs();
    const former = this.#failed.find(thread, need.hash, nowMs);
    if (former !== undefined && former.untilMs <= nowMs) throw former.error;
    const begunMs = former?.untilMs ?? deadlineMs;
    const untilMs = begunMs ?? mounted.untilMs();
    try {
      const fulfilling = mounted.fulfil(need, untilMs);
      // What others have asked for meanwhile may take longer than this request has left.
      const isEarly = begunMs !== undefined && begunMs < Number.POSITIVE_INFINITY;
      await (isEarly ? inTime(fulfilling, 'fetch', { clock: nodeClock, deadlineMs: untilMs }) : fulfilling);
    } catch (error) {
      this.#failed.put(thread, need.hash, { untilMs, error }, nodeClock.monotonicMs());
      throw error;
    }
    return untilMs;
  }

  #logFailure(need: ForwardedNeed, error: unknown): void {
    if (need === ELSEWHERE) return;
    this.#log.error('cannot fetch', {
      what: displayBytes(this.#pathOf(need)),
      hash: need.hash,
      error: messageOf(error),
      hint: error instanceof ThimbleError ? error.hint : undefined,
    });
  }

  #pathOf(need: Need): string {
    if (need.kind === 'catalog') return need.mountpoint;
    try {
      return need.label ?? (need.place === undefined ? '' : this.#mounted!.vfs.pathOf(need.place.node));
    } catch {
      // The catalog is damaged, and its hash has to do.
      return '';
    }
  }

  /** Whoever was interrupted has been told so already; a second answer could go to somebody else. */
  #send(waiting: Waiting, length: number): void {
    if (length !== NO_REPLY && !waiting.interrupted) send(this.#fd, this.#reply, length);
  }

  #interrupt(unique: bigint): void {
    const waiting = this.#waiting.get(unique);
    if (waiting === undefined || waiting.interrupted) return;
    waiting.interrupted = true;
    // The fetch goes on: whoever asks next finds the object here.
    const reply = Buffer.alloc(16);
    reply.writeUInt32LE(16, 0);
    reply.writeInt32LE(-EINTR, 4);
    reply.writeBigUInt64LE(unique, 8);
    send(this.#fd, reply, reply.length);
  }

  #done(unique: bigint): void {
    this.#waiting.delete(unique);
    if (this.#waiting.size === 0) this.#waitedMs += performance.now() - this.#waitingSinceMs;
  }
}
