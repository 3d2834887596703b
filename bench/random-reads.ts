/** `random-reads.ts FOLDER LIST COUNT`: stats, opens and reads files in random order, and prints the seconds that it took. */

import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { randomNumbers } from '../test/support/random-numbers.ts';

const [folder = '', list = '', count = '0'] = process.argv.slice(2);
const paths = readFileSync(list, 'utf8').split('\n');
const random = randomNumbers(7);
const chosen = Array.from({ length: Number(count) }, () => join(folder, paths[random(paths.length)]!));
const buffer = Buffer.alloc(1024 * 1024);
const startedMs = performance.now();
for (const path of chosen) {
  const { size } = statSync(path);
  const fd = openSync(path, 'r');
  for (let at = 0; at < size; ) at += readSync(fd, buffer);
  closeSync(fd);
}
process.stdout.write(String((performance.now() - startedMs) / 1000));
