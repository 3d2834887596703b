/** The engine that goes into boot images: Node as its npm package has it, whatever Node runs this program. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import { stripElf } from './elf.ts';

export interface Runtime {
  readonly name: string;
  readonly binary: Bytes;
}

export function guestRuntime(architecture: string = process.arch): Runtime {
  const name = `node-linux-${architecture}`;
  const require = createRequire(import.meta.url);
  try {
    const manifest = require.resolve(`${name}/package.json`);
    const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
    const binary = readFileSync(join(dirname(manifest), 'bin', 'node'));
    return { name: `Node ${version}`, binary: stripElf(binary) };
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('NOT_FOUND', `Cannot build image: the package ${name} is not installed`, {
      hint: 'run npm ci without --omit=optional',
      cause: error,
    });
  }
}
