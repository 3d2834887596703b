/** Entry of the threads of a mount: the one that answers the kernel, the one that fills caches, and the one that streams a profile. */

import { parentPort, workerData } from 'node:worker_threads';
import type { ProfileWorkerData } from '../mount/profile-worker.ts';
import type { FillerWorkerData } from '../node/filler-worker.ts';
import type { FuseWorkerData } from '../node/fuse-worker.ts';

const data = workerData as FuseWorkerData | FillerWorkerData | ProfileWorkerData;
if (parentPort !== null) {
  if (data.role === 'fuse-worker') (await import('../node/fuse-worker.ts')).runFuseWorker(data, parentPort);
  else if (data.role === 'filler')
    (await import('../node/filler-worker.ts')).runFillerWorker(data, parentPort);
  else await (await import('../mount/profile-worker.ts')).runProfileWorker(data, parentPort);
}
