/** The tree that the client's benchmark reads: as many entries, bytes and sizes as a small software distribution has. */

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomNumbers } from '../test/support/random-numbers.ts';

const DIRECTORIES = 2_800;
const FILES = 28_000;
const LINKS = 2_000;
/** Of all files together, about. */
const CONTENT_BYTES = 600e6;
const WORDS = 4096;

/** Makes it, and answers with the paths of its regular files, relative to `folder`. */
export function makeClientTree(folder: string): string[] {
  const random = randomNumbers(20_261_123);
  const directories = [''];
  mkdirSync(folder, { recursive: true });
  while (directories.length < DIRECTORIES) {
    // Of the first ones more are children: some directories are deep and most are not.
    const parent = directories[random(Math.min(directories.length, 400))]!;
    const path = join(parent, `directory-${directories.length}`);
    mkdirSync(join(folder, path));
    directories.push(path);
  }
  const text = words(random);
  const files: string[] = [];
  for (let i = 0; i < FILES; i++) {
    const path = join(directories[random(DIRECTORIES)]!, `file-${i}.txt`);
    writeFileSync(join(folder, path), text(sizeOf(random)));
    files.push(path);
  }
  for (let i = 0; i < LINKS; i++) {
    symlinkSync(`file-${i}.txt`, join(folder, directories[random(DIRECTORIES)]!, `link-${i}`));
  }
  return files;
}

/** Half of all files are below 4 kB, some are megabytes. */
function sizeOf(random: (below: number) => number): number {
  const spread = (random(1_000_000) + 1) / 1_000_001;
  const mean = CONTENT_BYTES / FILES;
  return Math.min(Math.round((mean / 5.1) * (spread ** -0.9 - 0.9)), 12_000_000);
}

/** Text that compresses to about a third, like programs and their documents do. */
function words(random: (below: number) => number): (length: number) => Buffer {
  const pool = Array.from({ length: WORDS }, () => {
    const letters = Array.from({ length: 2 + random(9) }, () => String.fromCharCode(97 + random(26)));
    return letters.join('');
  });
  const big = Buffer.from(
    Array.from({ length: 2_000_000 }, () => pool[Math.floor((random(WORDS) * random(WORDS)) / WORDS)]).join(
      ' ',
    ),
  );
  let serial = 0;
  return (length) => {
    const piece = Buffer.alloc(length);
    const start = random(big.length - 1);
    for (let at = 0; at < length; ) at += big.copy(piece, at, at === 0 ? start : 0);
    // No two are the same.
    piece.write(String(serial++), 0);
    return piece;
  };
}
