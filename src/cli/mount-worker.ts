/** Entry of the worker thread that answers the kernel. */

import { parentPort, workerData } from 'node:worker_threads';
import { type FuseWorkerData, runFuseWorker } from '../node/fuse-worker.ts';

if (parentPort !== null) runFuseWorker(workerData as FuseWorkerData, parentPort);
