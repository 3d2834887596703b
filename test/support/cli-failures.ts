/** What people meet when something is wrong: one error that names the thing, its exit code, and nothing half-written. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import type { ErrorCode } from '../../src/core/errors.ts';
import { keyPaths } from '../../src/publish/key-paths.ts';
import { noise } from './memory-tree.ts';
import { FQRN } from './publisher-repository.ts';
import { memoryScratch } from './scratch.ts';
import { type Outcome, thimbleJson } from './thimble.ts';
import { dir, file, makeTree } from './trees.ts';

export interface Expected {
  readonly code: ErrorCode;
  /** The first line, without `error: `. */
  readonly says: RegExp;
  readonly hint?: RegExp;
}

/** One error, told as all are: two lines at most, behind what progress has said. */
export function assertFails({ status, stderr }: Outcome, { code, says, hint }: Expected): void {
  assert.equal(status, EXIT_CODES[code], stderr);
  const lines = stderr.trimEnd().split('\n');
  const start = lines.findIndex((line) => line.startsWith('error: '));
  assert.ok(start >= 0, stderr);
  const [error, hintLine, ...more] = lines.slice(start);
  assert.match(error!.slice('error: '.length), says);
  assert.deepEqual(more, []);
  if (hintLine !== undefined) assert.match(hintLine, /^hint: ./);
  if (hint !== undefined) assert.match(hintLine ?? '', hint);
}

/** A repository where nothing is wrong yet; tests that change it work on copies. */
export interface SoundRepository {
  readonly scratch: string;
  readonly config: string;
  readonly storage: string;
  readonly publicKey: string;
}

export async function soundRepository(scope: Pick<TestContext, 'after'>): Promise<SoundRepository> {
  const scratch = memoryScratch(scope);
  const config = join(scratch, 'config');
  const storage = join(scratch, 'storage', FQRN);
  const publicKey = keyPaths(join(config, 'repositories', FQRN), FQRN).publicKey;
  const args = ['--storage', storage, '--chunks', '4k,8k,16k', '--config', config];
  await thimbleJson(['repo', 'create', FQRN, ...args]);
  const tree = join(scratch, 'tree');
  makeTree(
    tree,
    dir({
      whole: file('a file that is one object'),
      chunked: file(noise(50_000)),
      sub: dir({ '.cvmfscatalog': file(''), inside: file('in a nested catalog') }),
    }),
  );
  await thimbleJson(['publish', FQRN, tree, '--config', config]);
  return { scratch, config, storage, publicKey };
}
