/**
 * A reader as the command line wires it, with real sockets, a cache folder of its own and short limits; and what has to
 * hold of it whatever its servers do.
 */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import { DEFAULT_NETWORK_SETTINGS, type NetworkSettings } from '../../src/client/network/network-settings.ts';
import type { Snapshot } from '../../src/client/repository.ts';
import { NO_MEMORY, type RevisionMemory } from '../../src/client/revision-memory.ts';
import { lookupChild, readFileContent, rootOf } from '../../src/client/walk.ts';
import type { ByteString } from '../../src/core/bytes/byte-string.ts';
import { type ErrorCode, errorCodeOf } from '../../src/core/errors.ts';
import { type Sockets, silentLog } from '../../src/core/ports.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { openRepository, type RepositoryAccess } from '../../src/node/repository-access.ts';
import type { PublishedRepository } from './client-repository.ts';

/** Beyond a promised limit, for timers and a busy machine. */
export const SLACK_MS = 6_000;
export const CACHE_LIMIT_BYTES = 4 * 1024 * 1024;

/** Short limits of a reader in tests; each is a field of `NetworkSettings`. */
export interface Limits {
  readonly deadlineMs: number;
  /** For a connection, and for a stretch that is too slow. */
  readonly timeoutMs: number;
  readonly backoffMaxMs: number;
}

export const LIMITS: Limits = { deadlineMs: 2_500, timeoutMs: 400, backoffMaxMs: 100 };

export interface FaultClientOptions {
  readonly limits?: Partial<Limits>;
  readonly network?: Partial<NetworkSettings>;
  readonly memory?: RevisionMemory;
  readonly sockets?: Sockets;
  /** A new one where this is missing. */
  readonly cacheFolder?: string;
  readonly cacheLimitBytes?: number;
}

export class FaultClient {
  readonly cacheFolder: string;
  readonly access: RepositoryAccess;
  readonly #cacheLimitBytes: number;
  #mounted: MountedSnapshot | undefined;
  #isClosed = false;

  constructor(
    t: Pick<TestContext, 'after'>,
    /** For the key and the cache; it goes with the test. */
    scratch: string,
    published: Pick<PublishedRepository, 'fqrn' | 'publicKey'>,
    servers: readonly string[],
    options: FaultClientOptions = {},
  ) {
    const limits = { ...LIMITS, ...options.limits };
    const key = join(scratch, 'key.pub');
    if (!existsSync(key)) writeFileSync(key, published.publicKey);
    this.cacheFolder = options.cacheFolder ?? mkdtempSync(join(scratch, 'cache-'));
    this.#cacheLimitBytes = options.cacheLimitBytes ?? CACHE_LIMIT_BYTES;
    this.access = openRepository(
      { fqrn: published.fqrn, servers: [], proxies: [], keyFiles: [key] },
      {
        cacheFolder: this.cacheFolder,
        cacheLimitBytes: this.#cacheLimitBytes,
        log: silentLog,
        networkSettings: {
          ...DEFAULT_NETWORK_SETTINGS,
          servers,
          proxyTimeoutMs: limits.timeoutMs,
          directTimeoutMs: limits.timeoutMs,
          deadlineMs: limits.deadlineMs,
          backoffInitMs: limits.backoffMaxMs / 4,
          backoffMaxMs: limits.backoffMaxMs,
          ...options.network,
        },
        limits: { memory: options.memory ?? NO_MEMORY, minimumRevision: 0 },
        ...(options.sockets === undefined ? {} : { sockets: options.sockets }),
      },
    );
    t.after(() => this.close());
  }

  /** The trust chain, without a catalog. */
  resolve(): Promise<Snapshot> {
    return this.access.repository.resolve({});
  }

  /** The trust chain and the root catalog. */
  async open(): Promise<void> {
    this.#mounted = await MountedSnapshot.open(await this.resolve(), this.access.objects, {
      hashing: nodeHashing,
    });
  }

  /** All of a file, by its path below the root; opens the snapshot where that was not done. */
  async read(path: string): Promise<Buffer> {
    if (this.#mounted === undefined) await this.open();
    const mounted = this.#mounted!;
    let entry = rootOf(mounted);
    for (const name of path.split('/')) {
      const found = await lookupChild(mounted, entry, name as ByteString);
      assert.ok(found, `${path} is in the catalog`);
      entry = found;
    }
    return Buffer.from(await readFileContent(mounted, entry.node, 0, entry.attributes.sizeBytes));
  }

  close(): void {
    if (!this.#isClosed) this.access.close();
    this.#isClosed = true;
  }

  /** Nothing is half-written, and there is no more than the limit. Closes the client. */
  assertCacheIsSound(): void {
    this.close();
    assertCacheIsSound(this.cacheFolder, this.#cacheLimitBytes);
  }
}

/** Of a cache that nobody uses: nothing is half-written, and there is no more than the limit. */
export function assertCacheIsSound(folder: string, limitBytes: number): void {
  assert.deepEqual(temporaryFilesIn(folder), [], LEFT_BEHIND);
  assertLimitIsKept(folder, limitBytes);
}

/**
 * The same of the cache of a living mount. What was read last is put there after it was answered with: a file that is half-written
 * when this begins has time to become whole.
 */
export async function assertCacheComesToRest(folder: string, limitBytes: number): Promise<void> {
  const untilMs = performance.now() + SLACK_MS;
  let left = temporaryFilesIn(folder);
  while (left.length > 0 && performance.now() < untilMs) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = temporaryFilesIn(folder);
    left = left.filter((one) => now.includes(one));
  }
  assert.deepEqual(left, [], LEFT_BEHIND);
  assertLimitIsKept(folder, limitBytes);
}

const LEFT_BEHIND = 'temporary files stay behind';

function temporaryFilesIn(folder: string): string[] {
  return filesIn(folder).filter((path) => /\/(tmp|txn)\//.test(path.slice(folder.length)));
}

function assertLimitIsKept(folder: string, limitBytes: number): void {
  // A file may move between the two looks.
  const sizes = filesIn(folder).map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  const usedBytes = sizes.reduce((sum, bytes) => sum + bytes, 0);
  assert.ok(usedBytes <= limitBytes, `the cache has ${usedBytes} bytes, its limit is ${limitBytes}`);
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((one) => one.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));
}

export interface Ended<T> {
  readonly value?: T;
  readonly code?: ErrorCode;
  readonly error?: unknown;
  readonly ms: number;
}

/** How something ended, and after how long. */
export async function ended<T>(work: () => Promise<T>): Promise<Ended<T>> {
  const startedMs = performance.now();
  try {
    const value = await work();
    return { value, ms: performance.now() - startedMs };
  } catch (error) {
    return { code: errorCodeOf(error), error, ms: performance.now() - startedMs };
  }
}
