/** A user of the soak: walks, reads small files and parts of the large one, in an order of its own, until it is told to end. */

import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as pause } from 'node:timers/promises';
import { randomNumbers } from '../test/support/random-numbers.ts';
import { contentOf, FILES_PER_FOLDER, folderOf } from './soak-tree.ts';

const [mountpoint = '', folders, seed] = process.argv.slice(2);
const below = randomNumbers(Number(seed));
const block = Buffer.alloc(128 * 1024);
let reads = 0;
let errors = 0;
let isOver = false;
process.on('SIGTERM', () => {
  isOver = true;
});

function look(): void {
  const folder = join(mountpoint, folderOf(below(Number(folders))));
  const file = below(FILES_PER_FOLDER);
  if (readFileSync(join(folder, `file-${file}.txt`), 'latin1') !== contentOf(file)) errors++;
  if (below(10) === 0) {
    for (const name of readdirSync(folder)) lstatSync(join(folder, name));
  }
  if (below(100) === 0) {
    const large = join(mountpoint, 'large');
    const fd = openSync(large, 'r');
    readSync(fd, block, 0, block.length, below(statSync(large).size - block.length));
    closeSync(fd);
  }
}

while (!isOver) {
  for (let i = 0; i < 20; i++, reads++) {
    try {
      look();
    } catch {
      errors++;
    }
  }
  await pause();
}
process.stdout.write(JSON.stringify({ reads, errors }));
