/**
 * A user of the soak: walks, reads small files and parts of large ones, and looks at the news, in an order of its own, until it is told to
 * end. Prints how often something was not as it should be, and how long it waited at most.
 */

import { closeSync, lstatSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as pause } from 'node:timers/promises';
import { randomNumbers } from '../test/support/random-numbers.ts';
import { contentOf, FILES_PER_FOLDER, folderOf, LARGE_FILES, NEWS_FILES, newsOf } from './soak-tree.ts';

const [mountpoint = '', folders, seed] = process.argv.slice(2);
const below = randomNumbers(Number(seed));
const block = Buffer.alloc(128 * 1024);
let reads = 0;
let errors = 0;
let slowestMs = 0;
let updatesSeen = 0;
let isOver = false;
process.on('SIGTERM', () => {
  isOver = true;
});

function look(): void {
  const folder = join(mountpoint, folderOf(below(Number(folders))));
  const file = below(FILES_PER_FOLDER);
  if (readFileSync(join(folder, `file-${file}.txt`), 'latin1') !== contentOf(file))
    wrong(`${folder} ${file}`);
  if (below(10) === 0) {
    for (const name of readdirSync(folder)) lstatSync(join(folder, name));
  }
  if (below(100) === 0) lookAtLarge(join(mountpoint, `large-${below(LARGE_FILES)}`));
  if (below(20) === 0) lookAtNews(below(NEWS_FILES));
}

function lookAtLarge(path: string): void {
  const fd = openSync(path, 'r');
  readSync(fd, block, 0, block.length, below(statSync(path).size - block.length));
  closeSync(fd);
}

/** All of one update, and of none before the last that was seen. */
function lookAtNews(file: number): void {
  const news = join(mountpoint, 'news');
  if (statSync(news, { throwIfNoEntry: false }) === undefined) return;
  const text = readFileSync(join(news, `news-${file}`), 'latin1');
  const updates = Number(/^after (\d+) /.exec(text)?.[1]);
  if (text !== newsOf(updates) + file || updates < updatesSeen)
    wrong(`news ${file}, ${updatesSeen}: ${text.slice(0, 40)}`);
  updatesSeen = updates;
}

function wrong(what: string): void {
  errors++;
  process.stderr.write(`wrong content: ${what}\n`);
}

while (!isOver) {
  for (let i = 0; i < 20; i++, reads++) {
    const startedMs = performance.now();
    try {
      look();
    } catch (error) {
      errors++;
      process.stderr.write(`${String(error)}\n`);
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
  }
  await pause();
}
process.stdout.write(JSON.stringify({ reads, errors, slowestMs, updatesSeen }));
