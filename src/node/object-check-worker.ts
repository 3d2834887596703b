/** The worker thread of a check: reads objects, hashes and inflates them, and keeps nothing. */

import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { ObjectCache } from '../client/cache.ts';
import { type CheckedObject, verifyStoredBytes } from '../client/check-objects.ts';
import type { Servers } from '../client/network/servers.ts';
import { Objects } from '../client/objects.ts';
import { objectPath } from '../core/content-hash.ts';
import { type ErrorCode, errorCodeOf, messageOf } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import { nodeHashing } from './hashing.ts';
import { nodeInflating } from './inflating.ts';
import { localFolder } from './local-folder.ts';
import { openRepository, type RepositoryAddress } from './repository-access.ts';
import { StoredObjectCheck } from './stored-object-check.ts';

export interface ObjectCheckWorkerData {
  readonly role: 'object-check-worker';
  readonly address: RepositoryAddress;
}

export interface ObjectCheckJob {
  readonly id: number;
  readonly objects: readonly CheckedObject[];
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
  put: () => {},
  create: () => ({ write: () => {}, commit: () => {}, abort: () => {} }),
};

/** The largest chunk that publishers make: inflating in one go is twice as fast as in pieces. */
const WHOLE_BYTES = 16 * 1024 * 1024;
/** Requests under way at a time. */
const PARALLEL = 8;

/** Checks one object, and answers its bytes as stored where those cannot be counted otherwise. */
type CheckOne = (object: CheckedObject) => number | Promise<void>;

function serve(port: MessagePort, { address }: ObjectCheckWorkerData): void {
  const { servers } = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: 0,
    log: silentLog,
  });
  const fetching = fetchingCheck(servers);
  const folder = localFolder(address);
  const stored = folder === undefined ? undefined : new StoredObjectCheck(folder);
  const checkOne: CheckOne = (object) =>
    stored !== undefined && (object.sizeBytes ?? 0) <= WHOLE_BYTES ? stored.check(object) : fetching(object);

  async function check({ id, objects }: ObjectCheckJob): Promise<ObjectCheckResult> {
    const before = servers.counters.bytes;
    const failures: ObjectCheckResult['failures'][number][] = [];
    let bytes = 0;
    const queue = objects.entries();
    const work = async () => {
      for (const [index, object] of queue) {
        try {
          const checked = checkOne(object);
          if (typeof checked === 'number') bytes += checked;
          else await checked;
        } catch (error) {
          const label = objectPath(object.hash, object.type);
          failures.push({ index, code: errorCodeOf(error), message: `${label}: ${messageOf(error)}` });
        }
      }
    };
    await Promise.all(Array.from({ length: stored === undefined ? PARALLEL : 1 }, work));
    return { id, storedBytes: bytes + servers.counters.bytes - before, failures };
  }

  // One job after the other, so that bytes can be told apart.
  let last = Promise.resolve();
  port.on('message', (job: ObjectCheckJob) => {
    last = last.then(async () => port.postMessage(await check(job)));
  });
}

function fetchingCheck(servers: Servers): (object: CheckedObject) => Promise<void> {
  const ports = { hashing: nodeHashing, inflating: nodeInflating, wholeBytes: WHOLE_BYTES };
  // One for each: content and chunk with the same hash are two objects, and would be taken for one.
  const [whole, chunks] = [new Objects(servers, NOWHERE, ports), new Objects(servers, NOWHERE, ports)];
  return (object) => {
    const { sizeBytes, type, hash } = object;
    const label = objectPath(hash, type);
    if (sizeBytes === undefined) return verifyStoredBytes(servers, nodeHashing, hash, label);
    return (type === 'P' ? chunks : whole).fetch({ kind: 'object', ...object, sizeBytes, label });
  };
}

if (parentPort !== null && (workerData as Partial<ObjectCheckWorkerData>)?.role === 'object-check-worker') {
  serve(parentPort, workerData as ObjectCheckWorkerData);
}
