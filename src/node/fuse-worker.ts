/**
 * The worker thread of a mount: it blocks in read(2) on the FUSE device and answers at once what can be answered from
 * attached catalogs and cached objects. Everything else goes to the main thread, which fetches and then answers on the
 * same descriptor.
 */

import { readSync, writeSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { receiveMessageOnPort } from 'node:worker_threads';
import type { CacheId } from '../client/cache.ts';
import { SnapshotVfs } from '../client/snapshot-vfs.ts';
import type { ContentHash } from '../core/content-hash.ts';
import type { Need, NodeId } from '../core/vfs.ts';
import type { Negotiated } from '../fuse/negotiation.ts';
import type { Ownership } from '../fuse/ownership.ts';
import {
  type ELSEWHERE,
  FuseSession,
  LATER,
  type MagicXattrs,
  NO_REPLY,
  OPCODES_COUNTED,
  REPLY_BUFFER_BYTES,
  REQUEST_BUFFER_BYTES,
} from '../fuse/session.ts';
import { type CacheReader, openCacheReader } from './cache/cache-reader.ts';
import type { CacheReaderSettings } from './cache/folder-reader.ts';
import { CatalogOpener, type SharedCatalog } from './catalog-files.ts';
import { nodeHashing } from './hashing.ts';
import { ReadOrder } from './read-order.ts';

export interface FuseWorkerData {
  readonly role: 'fuse-worker';
  readonly fd: number;
  /** Objects are read here; `undefined` when the cache is in the memory of the main thread. */
  readonly cache: CacheReaderSettings | undefined;
  /** The outcome of INIT, if another process has served this descriptor before. */
  readonly negotiated: Negotiated | undefined;
  readonly withoutXattrs: boolean;
  readonly directIo: boolean;
  /** The main thread opens files from this size on; `undefined` if no open is to be a request for that. */
  readonly passthroughBytes: number | undefined;
  /** Where the main thread lists attributes that no catalog has; `undefined` if it knows none. */
  readonly magicXattrs: MagicXattrs['listed'] | undefined;
  readonly ownership: Ownership | undefined;
  /** Symlink variables; `undefined` shows symlinks as they were published. */
  readonly variables: Readonly<Record<string, string>> | undefined;
  /** Catalogs arrive here, main thread to worker. */
  readonly port: MessagePort;
  /** Slots of `SHARED_*`. */
  readonly shared: SharedArrayBuffer;
}

/** A request that has to wait, and for what; INTERRUPT waits for nothing. */
export interface ForwardedRequest {
  readonly request: Uint8Array;
  readonly need: Need | typeof ELSEWHERE | undefined;
}

/** Sent once, when INIT has been answered. */
export interface Settled {
  readonly negotiated: Negotiated;
}

/** 32-bit counter of catalogs and moves sent; the worker looks for messages only when it has moved. */
export const SHARED_CATALOGS = 0;
/** 32-bit: how long the kernel may keep names and attributes, in seconds. */
export const SHARED_VALID_SECONDS = 1;
/** Two 64-bit floats behind them: requests handled by the worker, and milliseconds spent on them. */
export const SHARED_REQUESTS = 1;
export const SHARED_BUSY_MS = 2;
/** Then as many as there are opcodes: requests handled by the worker, by opcode. */
export const SHARED_COUNTS = 3;
/** Then 32 bits: the number of the recording that is under way, or 0. */
const SHARED_RECORDING_AT = 8 * (SHARED_COUNTS + OPCODES_COUNTED);
/** Then two of 32 bits: whether the worker answers a request, and how many catalogs and moves it knew when it began. */
const SHARED_PACE_AT = SHARED_RECORDING_AT + 8;
export const ANSWERS = 0;
export const KNOWS = 1;
export const SHARED_BYTES = SHARED_PACE_AT + 8;

/** The slots `ANSWERS` and `KNOWS`. */
export function paceIn(shared: SharedArrayBuffer): Int32Array {
  return new Int32Array(shared, SHARED_PACE_AT, 2);
}

/** The slot of the recording. */
export function recordingIn(shared: SharedArrayBuffer): Int32Array {
  return new Int32Array(shared, SHARED_RECORDING_AT, 1);
}

/** The counters by opcode. */
export function countsIn(shared: SharedArrayBuffer): Float64Array {
  return new Float64Array(shared, 8 * SHARED_COUNTS, OPCODES_COUNTED);
}

/** An object was read here, for the first time in a recording. */
export interface Touched {
  readonly touched: CacheId;
}

/** A file was read from here, as one of several in the order of their catalog. */
export interface ReadInOrder {
  readonly readInOrder: NodeId;
}

/** Another revision is shown from here on; its catalogs have arrived before. */
export interface Move {
  readonly rootCatalog: ContentHash;
}

/** Runs until the file system is unmounted. */
export function runFuseWorker(data: FuseWorkerData, main: MessagePort): void {
  const cache = data.cache === undefined ? undefined : openCacheReader(data.cache);
  const vfs = new SnapshotVfs({
    hashing: nodeHashing,
    cache: cache === undefined ? NO_CACHE : reporting(cache, recordingIn(data.shared), main),
    variable: data.variables && variablesOf(data.variables),
  });
  const validSeconds = new Uint32Array(data.shared, 4 * SHARED_VALID_SECONDS, 1);
  const session = new FuseSession(vfs, {
    validSeconds: validSeconds[0]!,
    negotiated: data.negotiated,
    counts: countsIn(data.shared),
    withoutXattrs: data.withoutXattrs,
    directIo: data.directIo,
    passthrough: data.passthroughBytes === undefined ? undefined : { elsewhere: data.passthroughBytes },
    magicXattrs: data.magicXattrs && { elsewhere: data.magicXattrs },
    ownership: data.ownership,
  });
  const order = new ReadOrder();
  session.onFirstRead = (node) => {
    if (order.goesOn(node)) main.postMessage({ readInOrder: node } satisfies ReadInOrder);
  };
  const catalogsSent = new Int32Array(data.shared);
  const statistics = new Float64Array(data.shared);
  const pace = paceIn(data.shared);
  let catalogsSeen = 0;
  const catalogs = new CatalogOpener();
  let negotiated = data.negotiated;
  const request = Buffer.allocUnsafeSlow(REQUEST_BUFFER_BYTES);
  const reply = Buffer.allocUnsafeSlow(REPLY_BUFFER_BYTES);
  for (;;) {
    const length = receive(data.fd, request);
    if (length === undefined) break;
    const startedMs = performance.now();
    Atomics.store(pace, ANSWERS, 1);
    if (Atomics.load(catalogsSent, SHARED_CATALOGS) !== catalogsSeen) {
      for (
        let next = receiveMessageOnPort(data.port);
        next !== undefined;
        next = receiveMessageOnPort(data.port)
      ) {
        const message = next.message as SharedCatalog | Move;
        if ('rootCatalog' in message) vfs.moveTo(message.rootCatalog);
        else vfs.catalogs.attach({ ...message, reader: catalogs.open(message.content) });
        catalogsSeen++;
      }
      Atomics.store(pace, KNOWS, catalogsSeen);
    }
    session.validSeconds = validSeconds[0]!;
    const replyLength = session.handle(request, length, reply);
    if (replyLength === LATER) {
      main.postMessage({
        request: new Uint8Array(request.subarray(0, length)),
        need: session.need,
      } satisfies ForwardedRequest);
    }
    if (replyLength > NO_REPLY) send(data.fd, reply, replyLength);
    Atomics.store(pace, ANSWERS, 0);
    if (session.negotiated !== negotiated) {
      negotiated = session.negotiated!;
      main.postMessage({ negotiated } satisfies Settled);
    }
    statistics[SHARED_REQUESTS]!++;
    statistics[SHARED_BUSY_MS]! += performance.now() - startedMs;
  }
  cache?.close();
  data.port.close();
}

const NO_CACHE = { read: () => undefined };

/** Tells of what is read from the cache while a recording is under way; else it costs a look at one number. */
function reporting(
  cache: CacheReader,
  recording: Int32Array,
  main: MessagePort,
): Pick<CacheReader, 'read' | 'discard'> {
  const seen = new Set<CacheId>();
  let former = 0;
  return {
    read: (id, position, length, into, at) => {
      const current = recording[0]!;
      if (current !== former) {
        seen.clear();
        former = current;
      }
      if (current !== 0 && !seen.has(id)) {
        seen.add(id);
        main.postMessage({ touched: id } satisfies Touched);
      }
      return cache.read(id, position, length, into, at);
    },
    discard: (id) => cache.discard(id),
  };
}

/** The next request; `undefined` when the file system is gone. */
function receive(fd: number, request: Buffer): number | undefined {
  for (;;) {
    try {
      return readSync(fd, request, 0, request.length, null);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENODEV') return undefined;
      // ENOENT: the request was withdrawn before it could be read.
      if (code !== 'EINTR' && code !== 'ENOENT' && code !== 'EAGAIN') throw error;
    }
  }
}

/** Sends a reply; one that nobody waits for any more is no failure. */
export function send(fd: number, reply: Buffer, length: number): void {
  try {
    writeSync(fd, reply, 0, length);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENODEV') throw error;
  }
}

export function variablesOf(values: Readonly<Record<string, string>>): SnapshotVariable {
  return (name) => {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    return value === undefined
      ? undefined
      : (Buffer.from(value, 'utf8').toString('latin1') as ReturnType<SnapshotVariable>);
  };
}

type SnapshotVariable = NonNullable<ConstructorParameters<typeof SnapshotVfs>[0]['variable']>;
