/**
 * Serves a mounted snapshot on a FUSE descriptor: starts the worker thread, hands it every catalog, and answers the
 * requests that have to wait for something.
 */

import { MessageChannel, Worker } from 'node:worker_threads';
import type { CatalogFile, MountedSnapshot } from '../client/mounted-snapshot.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { EINTR, EIO, errnoOf } from '../core/errno.ts';
import { messageOf, ThimbleError } from '../core/errors.ts';
import { type Log, silentLog } from '../core/ports.ts';
import type { Need } from '../core/vfs.ts';
import { FUSE_INTERRUPT, FuseInHeader, FuseInterruptIn } from '../fuse/abi.ts';
import { FuseSession, LATER, NO_REPLY, REPLY_BUFFER_BYTES } from '../fuse/session.ts';
import {
  type ForwardedRequest,
  type FuseWorkerData,
  SHARED_BUSY_MS,
  SHARED_BYTES,
  SHARED_CATALOGS,
  SHARED_REQUESTS,
  send,
} from './fuse-worker.ts';

export interface FuseServerOptions {
  /** The file that calls `runFuseWorker` when it is run as a worker thread. */
  readonly workerFile: string | URL;
  readonly cacheFolder: string | undefined;
  readonly validSeconds: number;
  readonly withoutXattrs?: boolean;
  readonly directIo?: boolean;
  /** Symlink variables; `undefined` shows symlinks as they were published. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
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

/** A request loops at most this often through "needs one more thing": catalogs on the way, then chunks. */
const MAX_NEEDS = 10_000;

interface Waiting {
  interrupted: boolean;
}

export class FuseServer {
  /** Resolves when the file system has been unmounted; rejects if the worker failed. */
  readonly closed: Promise<void>;
  readonly #options: FuseServerOptions;
  readonly #log: Log;
  readonly #channel = new MessageChannel();
  readonly #shared = new SharedArrayBuffer(SHARED_BYTES);
  readonly #waiting = new Map<bigint, Waiting>();
  #fd = -1;
  #session: FuseSession | undefined;
  #mounted: MountedSnapshot | undefined;
  #waits = 0;
  #waitedMs = 0;
  #waitingSinceMs = 0;
  #resolveClosed: () => void = () => {};
  #rejectClosed: (error: unknown) => void = () => {};
  readonly #reply = Buffer.allocUnsafeSlow(REPLY_BUFFER_BYTES);

  constructor(options: FuseServerOptions) {
    this.#options = options;
    this.#log = options.log ?? silentLog;
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve;
      this.#rejectClosed = reject;
    });
  }

  /** To be passed to `MountedSnapshot.open`: shares each catalog with the worker. */
  readonly onCatalog = ({ node, hash, bytes }: CatalogFile): Uint8Array => {
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
    shared.set(bytes);
    this.#channel.port1.postMessage({ node, hash, bytes: shared } satisfies CatalogFile);
    Atomics.add(new Int32Array(this.#shared), SHARED_CATALOGS, 1);
    return shared;
  };

  /** Starts serving. */
  start(fd: number, mounted: MountedSnapshot): void {
    this.#fd = fd;
    this.#mounted = mounted;
    this.#session = new FuseSession(mounted.vfs, {
      validSeconds: this.#options.validSeconds,
      withoutXattrs: this.#options.withoutXattrs ?? false,
      directIo: this.#options.directIo ?? false,
      log: this.#log,
    });
    const data: FuseWorkerData = {
      role: 'fuse-worker',
      fd,
      cacheFolder: this.#options.cacheFolder,
      validSeconds: this.#options.validSeconds,
      withoutXattrs: this.#options.withoutXattrs ?? false,
      directIo: this.#options.directIo ?? false,
      variables: this.#options.variables,
      port: this.#channel.port2,
      shared: this.#shared,
    };
    const worker = new Worker(this.#options.workerFile, {
      workerData: data,
      transferList: [this.#channel.port2],
    });
    worker.on('message', (forwarded: ForwardedRequest) => this.#onRequest(forwarded));
    worker.once('error', (error) => {
      this.#rejectClosed(
        new ThimbleError('INTERNAL', 'The thread that serves the mount failed', { cause: error }),
      );
    });
    worker.once('exit', () => {
      this.#channel.port1.close();
      this.#resolveClosed();
    });
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

  #onRequest({ request, need }: ForwardedRequest): void {
    const { opcode, unique } = FuseInHeader.decode(request);
    if (opcode === FUSE_INTERRUPT || need === undefined) {
      this.#interrupt(FuseInterruptIn.decode(request, FuseInHeader.size).unique);
      return;
    }
    const waiting: Waiting = { interrupted: false };
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
  async #answer(request: Uint8Array, firstNeed: Need, waiting: Waiting): Promise<void> {
    const session = this.#session!;
    let need = firstNeed;
    for (let needs = 0; needs < MAX_NEEDS && !waiting.interrupted; needs++) {
      try {
        await this.#mounted!.fulfil(need);
      } catch (error) {
        const what = need.kind === 'object' ? need.label : need.mountpoint;
        this.#log.error('cannot fetch', {
          what: displayBytes(what),
          hash: need.hash,
          error: messageOf(error),
          hint: error instanceof ThimbleError ? error.hint : undefined,
        });
        return this.#send(waiting, session.fail(request, this.#reply, errnoOf(error)));
      }
      // The reply buffer is shared by all requests: what is put there is sent before anything else can run.
      const length = session.handle(request, request.length, this.#reply);
      if (length !== LATER || session.need === undefined) return this.#send(waiting, length);
      need = session.need;
    }
    this.#send(waiting, session.fail(request, this.#reply, EIO));
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
