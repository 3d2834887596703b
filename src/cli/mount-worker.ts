/** Entry of the threads of a mount: the one that answers the kernel, and the one that streams a profile. */

import { parentPort, workerData } from 'node:worker_threads';
import type { ProfileWorkerData } from '../mount/profile-worker.ts';
import type { FuseWorkerData } from '../node/fuse-worker.ts';

const data = workerData as FuseWorkerData | ProfileWorkerData;
if (parentPort !== null) {
  if (data.role === 'fuse-worker') (await import('../node/fuse-worker.ts')).runFuseWorker(data, parentPort);
  else await (await import('../mount/profile-worker.ts')).runProfileWorker(data, parentPort);
}
