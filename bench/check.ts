/**
 * Checking every byte (`thimble check --data`): objects made from this machine's /usr, read back by one thread of the check.
 * Rates are by processor time of the whole process, so that a busy machine spoils them less: what one core checks in a second.
 *
 * The bar is on content, inflated. Most of the time goes into inflating, which takes as long as what comes out of it; bytes
 * as stored say more about how well the data compresses than about the check. Without compression both are the same.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync } from 'node:zlib';
import type { ByteString } from '../src/core/bytes/byte-string.ts';
import type { ReferencedObject } from '../src/core/catalog/check-catalog.ts';
import type { Compression } from '../src/core/catalog/flags.ts';
import { type HashAlgorithm, hashBytes, objectPath } from '../src/core/content-hash.ts';
import { nodeHashing } from '../src/node/hashing.ts';
import { ObjectCheckPool } from '../src/node/object-check-pool.ts';
import type { Bar, Figures } from './report.ts';

const AT_LEAST = { atLeast: 200 };
export const bars: Readonly<Record<string, Bar>> = {
  sha1ZlibContentMBpsPerCore: AT_LEAST,
  shake128ZlibContentMBpsPerCore: AT_LEAST,
  sha1NoneContentMBpsPerCore: AT_LEAST,
};

/** Texts and programs, small and large: about what an operating system is made of. */
const SOURCES: Readonly<Record<string, number>> = {
  '/usr/share': 40e6,
  '/usr/include': 10e6,
  '/usr/bin': 30e6,
  '/usr/lib': 60e6,
};
/** Publishers cut larger files into pieces of about this. */
const CHUNK_BYTES = 8 * 1024 * 1024;
const LEVEL = 4;
const ROUNDS = 3;
const KINDS: readonly (readonly [HashAlgorithm, Compression])[] = [
  ['sha1', 'zlib'],
  ['shake128', 'zlib'],
  ['sha1', 'none'],
];

export async function run(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-bench-'));
  try {
    const contents = Object.entries(SOURCES).flatMap(([source, bytes]) => collect(source, { bytes }));
    const figures: Record<string, number> = { objects: contents.length };
    for (const [algorithm, compression] of KINDS) {
      const storage = join(folder, `${algorithm}-${compression}`, 'bench.example.org');
      const objects = contents.map((content) => store(storage, content, algorithm, compression));
      const { storedMB, contentMB, cpuSeconds, seconds } = await check(storage, objects);
      const name = `${algorithm}${compression === 'zlib' ? 'Zlib' : 'None'}`;
      figures[`${name}StoredMBpsPerCore`] = storedMB / cpuSeconds;
      figures[`${name}ContentMBpsPerCore`] = contentMB / cpuSeconds;
      figures[`${name}Seconds`] = seconds;
      rmSync(storage, { recursive: true });
    }
    return figures;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Files as they come, cut as publishers cut them, until there are enough bytes. */
function collect(folder: string, left: { bytes: number }): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (left.bytes <= 0) break;
    if (entry.isDirectory()) found.push(...collect(path, left));
    else if (entry.isFile() && statSync(path).size > 0) {
      const content = readFileSync(path);
      for (let at = 0; at < content.length && left.bytes > 0; at += CHUNK_BYTES) {
        found.push(content.subarray(at, at + CHUNK_BYTES));
        left.bytes -= found.at(-1)!.length;
      }
    }
  }
  return found;
}

function store(
  storage: string,
  content: Uint8Array,
  algorithm: HashAlgorithm,
  compression: Compression,
): ReferencedObject {
  const stored = compression === 'zlib' ? deflateSync(content, { level: LEVEL }) : content;
  const hash = hashBytes(nodeHashing, algorithm, stored);
  const path = objectPath(hash, '');
  mkdirSync(join(storage, dirname(path)), { recursive: true });
  writeFileSync(join(storage, path), stored);
  return { hash, type: '', sizeBytes: content.length, compression, path: `/${path}` as ByteString };
}

async function check(storage: string, objects: readonly ReferencedObject[]) {
  const address = { fqrn: 'bench.example.org', servers: [storage], proxies: [], keyFiles: [] };
  const pool = new ObjectCheckPool(address, 1);
  let storedBytes = 0;
  const round = async () => {
    for (const object of objects) {
      await pool.add(object, (result) => {
        if (result.failure !== undefined) throw new Error(result.failure.message);
        storedBytes += result.storedBytes;
      });
    }
    await pool.drain();
  };
  try {
    // Once before, so that the files are in memory and the code is warm: the rate is that of a long check.
    await round();
    storedBytes = 0;
    const startedMs = performance.now();
    const before = process.cpuUsage();
    for (let left = ROUNDS; left > 0; left--) await round();
    const { user, system } = process.cpuUsage(before);
    const contentBytes = objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) * ROUNDS;
    return {
      storedMB: storedBytes / 1e6,
      contentMB: contentBytes / 1e6,
      cpuSeconds: (user + system) / 1e6,
      seconds: (performance.now() - startedMs) / 1000 / ROUNDS,
    };
  } finally {
    await pool.close();
  }
}
