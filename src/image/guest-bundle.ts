/** The guest client as one file for the initrd. */

import { build } from 'esbuild';
import type { Bytes } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';

/** The same sources give the same bytes: no paths, no times. */
export async function bundleGuest(): Promise<Bytes> {
  const result = await build({
    entryPoints: [new URL('../guest/main.ts', import.meta.url).pathname],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    minify: true,
    legalComments: 'none',
    logLevel: 'silent',
    // For PAC files, which no machine boots with.
    external: ['pac-resolver', 'quickjs-wasi'],
  });
  const [file] = result.outputFiles;
  if (file === undefined) throw new ThimbleError('INTERNAL', 'The guest client could not be bundled');
  return file.contents;
}
