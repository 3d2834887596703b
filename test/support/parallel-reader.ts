/** Reads files of a `SupervisedMount` in parallel, as many as the thread pool has threads, and prints what came of it. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { contentOf, pathOf, type ReaderResult } from './supervised-mount.ts';

const [mountpoint = '', from, to] = process.argv.slice(2);
let wrong = 0;
const errors: string[] = [];

async function read(i: number): Promise<void> {
  try {
    if ((await readFile(join(mountpoint, pathOf(i)), 'latin1')) !== contentOf(i)) wrong++;
  } catch (error) {
    errors.push(String((error as NodeJS.ErrnoException).code));
  }
}

const files = Array.from({ length: Number(to) - Number(from) }, (_, i) => Number(from) + i);
await Promise.all(files.map(read));
process.stdout.write(JSON.stringify({ read: files.length, wrong, errors } satisfies ReaderResult));
