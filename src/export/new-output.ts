/** Files and folders that appear whole or not at all: made beside their place, and renamed. */

import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ThimbleError } from '../core/errors.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const EXIT_CODE_OF_SIGNALS = 130;

/** `make` fills a new, empty folder, which then becomes `output`. Throws CONFLICT if something is there, STORAGE. */
export async function newFolder<T>(output: string, make: (folder: string) => Promise<T>): Promise<T> {
  const isFree = attempt(output, () => isAbsent(output) || isEmptyFolder(output));
  if (!isFree) {
    throw new ThimbleError('CONFLICT', `Cannot write ${output}: it exists`, {
      hint: 'name a folder that is not there yet, or an empty one',
    });
  }
  return withScratch(output, async (scratch) => {
    const result = await make(scratch);
    attempt(output, () => renameSync(scratch, output));
    return result;
  });
}

/** `make` writes a new file, which then replaces `output`; it may use the folder too. Throws USAGE, STORAGE. */
export async function newFile<T>(
  output: string,
  make: (file: string, scratch: string) => Promise<T>,
): Promise<T> {
  if (!attempt(output, () => isAbsent(output) || lstatSync(output).isFile())) {
    throw new ThimbleError('USAGE', `Cannot write ${output}: it exists and is not a file`, {
      hint: 'write to standard output to fill a device or a pipe: --format tar --output -',
    });
  }
  return withScratch(output, async (scratch) => {
    const file = join(scratch, 'file');
    const result = await make(file, scratch);
    attempt(output, () => {
      const fd = openSync(file, constants.O_RDONLY);
      try {
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(file, output);
    });
    return result;
  });
}

/** A folder beside `output`, for its owner alone, which is gone afterwards: also after a signal. */
async function withScratch<T>(output: string, action: (scratch: string) => Promise<T>): Promise<T> {
  const place = resolve(output);
  const scratch = attempt(output, () => mkdtempSync(join(dirname(place), `.${basename(place)}.thimble-`)));
  const stop = () => {
    removeTree(scratch);
    process.exit(EXIT_CODE_OF_SIGNALS);
  };
  for (const signal of SIGNALS) process.once(signal, stop);
  try {
    return await action(scratch);
  } finally {
    for (const signal of SIGNALS) process.off(signal, stop);
    removeTree(scratch);
  }
}

function removeTree(folder: string): void {
  // Folders of the tree may be closed to their owner, who is not root then.
  if (process.getuid?.() !== 0) spawnSync('chmod', ['-R', 'u+rwX', folder], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
}

function isAbsent(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) === undefined;
}

function isEmptyFolder(path: string): boolean {
  return lstatSync(path).isDirectory() && readdirSync(path).length === 0;
}

function attempt<T>(output: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('STORAGE', `Cannot write ${output}`, { cause: error });
  }
}
