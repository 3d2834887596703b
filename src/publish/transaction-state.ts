/** What is known of an open transaction: a small file that outlives mounts, processes and reboots. */

import { readFileSync, rmSync } from 'node:fs';
import { z } from 'zod';
import { type ContentHash, isContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { replaceFile } from '../node/replace-file.ts';

const contentHash = z.custom<ContentHash>((value) => typeof value === 'string' && isContentHash(value));

const stateSchema = z.strictObject({
  /** Of this file's form. */
  version: z.literal(1),
  /** What the transaction started from. */
  rootCatalog: contentHash,
  revision: z.number(),
  startedSeconds: z.number(),
  user: z.string(),
  host: z.string(),
  mountpoint: z.string(),
  /** The mount point was made for it, and goes with it. */
  madeMountpoint: z.boolean(),
  /** Folder of the layers. */
  layers: z.string(),
  /** The process that serves the lower layer, if `identity` is still its identity. */
  server: z.strictObject({ pid: z.number(), identity: z.string() }),
  /** `ended`: what is in the upper layer is not wanted any more, or is published. */
  phase: z.enum(['open', 'ended']),
  /** Written before a manifest with this root catalog: once that is there, the transaction is published. */
  publishing: contentHash.optional(),
});

export type TransactionState = z.infer<typeof stateSchema>;

/** `undefined` if there is none. Throws STORAGE, FORMAT. */
export function readTransactionState(path: string): TransactionState | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new ThimbleError('STORAGE', `Cannot read ${path}`, { cause: error });
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (error) {
    throw new ThimbleError('FORMAT', `Cannot use ${path}: it does not describe a transaction`, {
      hint: 'what was changed is in the folder "upper" beside it; keep that, and remove both to start again',
      cause: error,
    });
  }
}

/** Throws STORAGE. */
export function writeTransactionState(path: string, state: TransactionState): void {
  replaceFile(path, `${JSON.stringify(state, undefined, 2)}\n`);
}

export function removeTransactionState(path: string): void {
  rmSync(path, { force: true });
}
