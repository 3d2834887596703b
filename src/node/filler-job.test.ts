import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContentHash } from '../core/content-hash.ts';
import type { NodeId } from '../core/vfs.ts';
import { type FillerJob, jobLength, readJob, writeJob } from './filler-job.ts';

const JOBS: readonly FillerJob[] = [
  {
    number: 4_294_967_295,
    hash: 'ab'.repeat(20) as ContentHash,
    isPlain: false,
    isVolatile: true,
    sizeBytes: 1_048_576,
    node: (2 ** 52 + 1) as NodeId,
    stored: new Uint8Array([1, 2, 3]),
  },
  {
    number: 0,
    hash: `${'cd'.repeat(20)}-shake128` as ContentHash,
    isPlain: true,
    isVolatile: false,
    sizeBytes: 0,
    node: undefined,
    stored: undefined,
  },
  {
    number: 1,
    hash: `${'01'.repeat(20)}-rmd160` as ContentHash,
    isPlain: true,
    isVolatile: false,
    sizeBytes: 1,
    node: 7 as NodeId,
    stored: new Uint8Array(0),
  },
];

test('a job is read as it was written', () => {
  for (const job of JOBS) {
    const record = new Uint8Array(new SharedArrayBuffer(512), 8, jobLength(job));
    writeJob(job, record);
    const read = readJob(record);
    assert.deepEqual(
      { ...read, stored: read.stored && [...read.stored] },
      { ...job, stored: job.stored && [...job.stored] },
    );
  }
});
