/** The worker thread of a check: reads objects, hashes and inflates them, and keeps nothing. */

import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { ObjectCache } from '../client/cache.ts';
import { Objects } from '../client/objects.ts';
import type { ReferencedObject } from '../core/catalog/check-catalog.ts';
import { objectPath } from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf, messageOf } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import { nodeHashing } from './hashing.ts';
import { nodeInflating } from './inflating.ts';
import { openRepository, type RepositoryAddress } from './repository-access.ts';

export interface ObjectCheckWorkerData {
  readonly role: 'object-check-worker';
  readonly address: RepositoryAddress;
}

export interface ObjectCheckJob {
  readonly id: number;
  readonly objects: readonly ReferencedObject[];
}

export interface ObjectCheckResult {
  readonly id: number;
  readonly storedBytes: number;
  readonly failures: readonly {
    /** Position in the job. */
    readonly index: number;
    readonly code: ErrorCode;
    readonly message: string;
  }[];
}

/** Where checked content goes. */
const NOWHERE: ObjectCache = {
  read: () => undefined,
  load: () => undefined,
  has: () => false,
  create: () => ({ write: () => {}, commit: () => {}, abort: () => {} }),
};

/** The largest chunk that publishers make: inflating in one go is twice as fast as in pieces. */
const WHOLE_BYTES = 16 * 1024 * 1024;
/** Requests under way at a time; a folder answers at once. */
const PARALLEL = 8;

function serve(port: MessagePort, { address }: ObjectCheckWorkerData): void {
  const { servers } = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: 0,
    log: silentLog,
  });
  // One for each: content and chunk with the same hash are two objects, and would be taken for one.
  const ports = { hashing: nodeHashing, inflating: nodeInflating, wholeBytes: WHOLE_BYTES };
  const objectsOf = { '': new Objects(servers, NOWHERE, ports), P: new Objects(servers, NOWHERE, ports) };
  const isLocal = !address.servers.some((server) => /^https?:/.test(server));

  async function check({ id, objects }: ObjectCheckJob): Promise<ObjectCheckResult> {
    const before = servers.counters.bytes;
    const failures: ObjectCheckResult['failures'][number][] = [];
    const queue = objects.entries();
    const work = async () => {
      for (const [index, object] of queue) {
        const label = objectPath(object.hash, object.type);
        try {
          await objectsOf[object.type].fetch({ kind: 'object', ...object, label });
        } catch (error) {
          failures.push({ index, code: errorCodeOf(error), message: `${label}: ${messageOf(error)}` });
        }
      }
    };
    await Promise.all(Array.from({ length: isLocal ? 1 : PARALLEL }, work));
    return { id, storedBytes: servers.counters.bytes - before, failures };
  }

  // One job after the other, so that bytes can be told apart.
  let last = Promise.resolve();
  port.on('message', (job: ObjectCheckJob) => {
    last = last.then(async () => port.postMessage(await check(job)));
  });
}

if (parentPort !== null && (workerData as Partial<ObjectCheckWorkerData>)?.role === 'object-check-worker') {
  serve(parentPort, workerData as ObjectCheckWorkerData);
}
