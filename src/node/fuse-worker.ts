/**
 * The worker thread of a mount: it blocks in read(2) on the FUSE device and answers at once what can be answered from
 * attached catalogs and cached objects. Everything else goes to the main thread, which fetches and then answers on the
 * same descriptor.
 */

import { readSync, writeSync } from 'node:fs';
import type { MessagePort } from 'node:worker_threads';
import { receiveMessageOnPort } from 'node:worker_threads';
import type { CatalogFile } from '../client/mounted-snapshot.ts';
import { SnapshotVfs } from '../client/snapshot-vfs.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import type { Need } from '../core/vfs.ts';
import { FuseSession, LATER, NO_REPLY, REPLY_BUFFER_BYTES, REQUEST_BUFFER_BYTES } from '../fuse/session.ts';
import { FolderCacheReader } from './folder-cache.ts';
import { nodeHashing } from './hashing.ts';

export interface FuseWorkerData {
  readonly role: 'fuse-worker';
  readonly fd: number;
  /** Objects are read here; `undefined` when the cache is in the memory of the main thread. */
  readonly cacheFolder: string | undefined;
  readonly validSeconds: number;
  readonly withoutXattrs: boolean;
  readonly directIo: boolean;
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
  readonly need: Need | undefined;
}

/** 32-bit counter of catalogs sent; the worker looks for messages only when it has moved. */
export const SHARED_CATALOGS = 0;
/** Two 64-bit floats behind it: requests handled by the worker, and milliseconds spent on them. */
export const SHARED_REQUESTS = 1;
export const SHARED_BUSY_MS = 2;
export const SHARED_BYTES = 24;

/** Runs until the file system is unmounted. */
export function runFuseWorker(data: FuseWorkerData, main: MessagePort): void {
  const cache = data.cacheFolder === undefined ? undefined : new FolderCacheReader(data.cacheFolder);
  const vfs = new SnapshotVfs({
    hashing: nodeHashing,
    cache: cache ?? { read: () => undefined },
    variable: data.variables && variablesOf(data.variables),
  });
  const session = new FuseSession(vfs, {
    validSeconds: data.validSeconds,
    withoutXattrs: data.withoutXattrs,
    directIo: data.directIo,
  });
  const catalogsSent = new Int32Array(data.shared);
  const statistics = new Float64Array(data.shared);
  let catalogsSeen = 0;
  const request = Buffer.allocUnsafeSlow(REQUEST_BUFFER_BYTES);
  const reply = Buffer.allocUnsafeSlow(REPLY_BUFFER_BYTES);
  for (;;) {
    const length = receive(data.fd, request);
    if (length === undefined) break;
    const startedMs = performance.now();
    if (Atomics.load(catalogsSent, SHARED_CATALOGS) !== catalogsSeen) {
      for (
        let next = receiveMessageOnPort(data.port);
        next !== undefined;
        next = receiveMessageOnPort(data.port)
      ) {
        const { node, hash, bytes } = next.message as CatalogFile;
        vfs.attach({ node, hash, reader: CatalogReader.open(bytes) });
        catalogsSeen++;
      }
    }
    const replyLength = session.handle(request, length, reply);
    if (replyLength === LATER) {
      main.postMessage({
        request: new Uint8Array(request.subarray(0, length)),
        need: session.need,
      } satisfies ForwardedRequest);
    }
    if (replyLength > NO_REPLY) send(data.fd, reply, replyLength);
    statistics[SHARED_REQUESTS]!++;
    statistics[SHARED_BUSY_MS]! += performance.now() - startedMs;
  }
  cache?.close();
  data.port.close();
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
