/** A profile that somebody gives up while it streams. How it streams to its end: test/mount/profile.test.ts. */

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SLACK_MS } from '../../test/support/fault-client.ts';
import { bytesOfAnswer, FaultServer } from '../../test/support/fault-server.ts';
import { neededObjects, publishDaily } from '../../test/support/garbage.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { cacheIdOf } from '../client/cache.ts';
import { DEFAULT_NETWORK_SETTINGS } from '../client/network/network-settings.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import { silentLog } from '../core/ports.ts';
import { type AccessOptions, openRepository } from '../node/repository-access.ts';
import { publishProfile } from '../publish/profiles.ts';
import { parseObjectPath } from '../storage/object-set.ts';
import { ProfileFeed } from './profile-feed.ts';

const FILES = 20;
const FILE_BYTES = 20_000;
const WHOLE_FILES = { minBytes: 1_000_000, averageBytes: 2_000_000, maxBytes: 4_000_000 };
/** After this much of the pack the server sends no more. */
const SENT_BYTES = (FILES / 2) * FILE_BYTES;

/** A profile whose pack comes by half, and the means to stream it. */
async function scene(t: TestContext) {
  const published = await publishDaily(t, 'a', { chunkSizes: WHOLE_FILES });
  const files = Array.from({ length: FILES }, (_, index) =>
    entry(`/f${String(index).padStart(2, '0')}`, { content: noise(FILE_BYTES, index + 1) }),
  );
  await published.publish(memoryTree([entry(''), ...files]));
  const { fqrn } = published.settings;
  const hashes = neededObjects(published.storage)
    .filter((path) => parseObjectPath(path)!.type === '')
    // Without those of the revision before.
    .filter((path) => Math.floor(statSync(join(published.storage, path)).size / FILE_BYTES) === 1)
    .map((path) => path.replaceAll('/', '').slice('data'.length) as ContentHash);
  const { profile } = await publishProfile(published.target, published.ports, {
    name: 'work',
    recording: { fqrn, rootCatalog: undefined, objects: hashes.map((hash) => ({ hash, isCatalog: false })) },
  });
  const server = await FaultServer.start(t, { fqrn, storage: published.storage });
  const pack = new RegExp(objectPath(profile.packs[0]!.hash, ''));
  server.misbehave(
    ({ socket, good }) => void socket.write(bytesOfAnswer(good).subarray(0, SENT_BYTES)),
    pack,
  );
  const scratch = scratchFolder(t);
  const address = { fqrn, servers: [server.url], proxies: [], keyFiles: [published.publicKey] };
  const network: AccessOptions = {
    cacheFolder: join(scratch, 'cache'),
    cacheLimitBytes: 1e9,
    networkSettings: { ...DEFAULT_NETWORK_SETTINGS, servers: [server.url] },
    log: silentLog,
  };
  const access = openRepository(address, network);
  t.after(() => access.close());
  const feed = new ProfileFeed({
    ...{ name: 'work', access, address, network, limitBytes: 1e9, log: silentLog },
    workerFile: new URL('../cli/mount-worker.ts', import.meta.url),
  });
  t.after(() => feed.cancel());
  return {
    feed,
    access,
    server,
    pack,
    hashes,
    isHere: (hash: ContentHash) => access.cache.has(cacheIdOf(hash, 'zlib')),
  };
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('a profile that is cancelled ends at once: what is here stays, who waited is served, the server is left alone', async (t) => {
  const { feed, access, server, hashes, isHere } = await scene(t);
  await until(() => feed.status().delivered > 0);
  const waitedFor = hashes.find((hash) => !isHere(hash))!;
  const reading = access.objects.fetch({
    ...{ kind: 'object', hash: waitedFor, type: '', compression: 'zlib', sizeBytes: FILE_BYTES },
  });
  const startedMs = performance.now();
  feed.cancel();
  assert.equal(feed.status().phase, 'cancelled');
  await Promise.all([feed.ended, reading]);
  const ms = performance.now() - startedMs;
  assert.ok(ms < SLACK_MS, `it took ${ms} ms`);
  assert.equal(access.objects.arrivals, undefined);
  access.objects.flush();
  assert.ok(isHere(waitedFor));
  const { delivered, phase, failure } = feed.status();
  assert.deepEqual([phase, failure], ['cancelled', undefined]);
  assert.ok(delivered > 0 && delivered < FILES, `${delivered} delivered`);
  assert.ok(hashes.filter(isHere).length >= delivered);
  // Those that are left are of the reader.
  access.close();
  await until(() => server.open === 0);
});

test('a profile that is cancelled before it streams never does', async (t) => {
  const { feed, server, pack } = await scene(t);
  feed.cancel();
  await feed.ended;
  assert.deepEqual([feed.status().phase, feed.status().delivered], ['cancelled', 0]);
  feed.cancel();
  assert.ok(!server.paths.some((path) => pack.test(path)));
});
