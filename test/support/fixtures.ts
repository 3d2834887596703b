/** The golden repositories of `test/fixtures`. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { zstdDecompressSync } from 'node:zlib';

const FOLDER = fileURLToPath(new URL('../fixtures/', import.meta.url));

export interface FixtureEntry {
  readonly path?: string;
  readonly path_b64?: string;
  readonly [field: string]: unknown;
}

export interface FixtureManifest {
  readonly fqrn: string;
  readonly revision: string;
  readonly root_hash: string;
  readonly entries: readonly FixtureEntry[];
}

export function fixturePath(name: string): string {
  return join(FOLDER, name);
}

export function fixtureManifest(name: string, file = 'manifest.json'): FixtureManifest {
  return JSON.parse(readFileSync(join(FOLDER, name, file), 'utf8')) as FixtureManifest;
}

/** Unpacks the storage folder of a golden repository; its path ends with the repository's name, or `top`. */
export function unpackFixture(name: string, into: string, archive = 'repo.tar.zst', top?: string): string {
  const tar = zstdDecompressSync(readFileSync(join(FOLDER, name, archive)));
  execFileSync('tar', ['-xf', '-', '-C', into], { input: tar });
  return join(into, top ?? fixtureManifest(name).fqrn);
}
