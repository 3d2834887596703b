/**
 * Requests that a dead process had read from the FUSE device and not answered. Kernels since 6.9 hand them out once more.
 * Older ones keep them, and their callers wait for ever: there each gets ESTALE, after which the kernel itself looks a path
 * up again, and reads pages again that were read ahead.
 */

import { spawn } from 'node:child_process';
import { read, writeSync } from 'node:fs';
import { ESTALE } from '../core/errno.ts';
import type { Log } from '../core/ports.ts';
import { FuseInHeader, FuseOutHeader } from '../fuse/abi.ts';
import { REQUEST_BUFFER_BYTES } from '../fuse/session.ts';

/** Numbers of requests go up by this. */
const STEP = 2n;
/** So far back in time: about a minute of a busy mount. */
const MAX_REQUESTS = 2_000_000n;
const BATCH = 1000n;
/** How long the first request may take to come, caused by a process that does nothing else. */
const FIRST_REQUEST_MS = 2000;

/**
 * Reads the next request, which is newer than all that are lost; one is caused by asking for the size of the file system.
 * To be called while nobody else reads from `fd`. `undefined` if the file system is gone, or none came in time: then
 * `late` gets it when it comes.
 */
export async function readFirstRequest(
  fd: number,
  mountpoint: string,
  late: (request: Uint8Array) => void,
): Promise<Uint8Array | undefined> {
  const buffer = Buffer.allocUnsafeSlow(REQUEST_BUFFER_BYTES);
  let isLate = false;
  const first = new Promise<Uint8Array | undefined>((resolve) => {
    read(fd, buffer, 0, buffer.length, null, (error, length) => {
      if (error !== null) resolve(undefined);
      else if (isLate) late(buffer.subarray(0, length));
      else resolve(buffer.subarray(0, length));
    });
  });
  spawn('stat', ['-f', '--', mountpoint], { stdio: 'ignore' }).on('error', () => {
    // Then the next request of anybody else is taken.
  });
  const timeout = new Promise<undefined>((resolve) => {
    setTimeout(() => {
      isLate = true;
      resolve(undefined);
    }, FIRST_REQUEST_MS).unref();
  });
  return Promise.race([first, timeout]);
}

/** Answers what is older than `request`, the newest first. Who was answered already is not disturbed. */
export async function failOlderRequests(fd: number, request: Uint8Array, log: Log): Promise<number> {
  const newest = FuseInHeader.decode(request).unique & ~1n;
  const oldest = newest > STEP * MAX_REQUESTS ? newest - STEP * MAX_REQUESTS : STEP;
  const reply = Buffer.alloc(FuseOutHeader.size);
  reply.writeUInt32LE(reply.length, 0);
  reply.writeInt32LE(-ESTALE, 4);
  let failed = 0;
  for (let unique = newest - STEP; unique >= oldest; unique -= STEP) {
    reply.writeBigUInt64LE(unique, 8);
    try {
      writeSync(fd, reply);
      failed++;
    } catch (error) {
      // ENOENT: it was answered, or never existed.
      if ((error as NodeJS.ErrnoException).code === 'ENODEV') break;
    }
    if (unique % (STEP * BATCH) === 0n) await new Promise((resolve) => setImmediate(resolve));
  }
  if (failed > 0) log.warn('requests were lost with the last server', { requests: failed });
  return failed;
}
