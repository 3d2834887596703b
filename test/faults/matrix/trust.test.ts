/** What a mirror can do with files that are all well signed: hold them back, go back, and mix them. */

import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { MountedSnapshot } from '../../../src/client/mounted-snapshot.ts';
import type { RememberedRevision, RevisionMemory } from '../../../src/client/revision-memory.ts';
import { objectPath } from '../../../src/core/content-hash.ts';
import { messageOf } from '../../../src/core/errors.ts';
import { MANIFEST_PATH } from '../../../src/core/manifest.ts';
import type { Clock } from '../../../src/core/ports.ts';
import { WHITELIST_PATH } from '../../../src/core/whitelist.ts';
import { nodeClock } from '../../../src/node/clock.ts';
import { nodeHashing } from '../../../src/node/hashing.ts';
import { openClient, type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { ended, FaultClient, LIMITS, SLACK_MS } from '../../support/fault-client.ts';
import { FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { response } from '../../support/raw-server.ts';
import { memoryScratch } from '../../support/scratch.ts';
import { readManifest } from '../../support/storage-place.ts';
import { dir, file } from '../../support/trees.ts';

const YEAR_SECONDS = 365 * 24 * 3600;
const scope = fileScope();
let scratch: string;
let published: PublishedRepository;
/** A mirror that has the first of two revisions. */
let stale: string;

before(async () => {
  scratch = memoryScratch(scope);
  published = await publishRepository(scope);
  await published.publish(dir({ version: file('one') }));
  stale = join(scratch, 'stale');
  cpSync(published.storage, stale, { recursive: true });
  await published.publish(dir({ version: file('two') }));
});

class Memory implements RevisionMemory {
  #seen: RememberedRevision | undefined;

  recall(): RememberedRevision | undefined {
    return this.#seen;
  }

  remember(seen: RememberedRevision): void {
    assert.ok(seen.revision >= (this.#seen?.revision ?? 0), 'the revision never goes backwards');
    this.#seen = seen;
  }
}

const later = (seconds: number): Clock => ({
  monotonicMs: () => nodeClock.monotonicMs(),
  unixSeconds: () => nodeClock.unixSeconds() + seconds,
  after: (ms, callback) => nodeClock.after(ms, callback),
});

const text = async (client: FaultClient) => (await client.read('version')).toString();

describe('fault', () => {
  test('older revision (rollback), alone', async (t) => {
    const server = await FaultServer.start(t, published);
    const memory = new Memory();
    const cached = new FaultClient(t, scratch, published, [server.url], { memory });
    assert.equal(await text(cached), 'two');
    server.serve(stale);
    const other = new FaultClient(t, scratch, published, [server.url], { memory });
    const { code, error, ms } = await ended(() => text(other));
    assert.equal(code, 'TRUST', messageOf(error));
    assert.match(messageOf(error), /revision 2 was seen/);
    assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
    // Whoever has the newer one in the cache goes on with it.
    assert.deepEqual((await cached.resolve()).revision, 2);
    server.serve(published.storage);
    assert.equal(await text(other), 'two');
  });

  test('older revision (rollback), beside the newest', async (t) => {
    const server = await FaultServer.start(t, published);
    const lagging = await FaultServer.start(t, { ...published, storage: stale });
    const memory = new Memory();
    memory.remember(readManifest(published.storage));
    const client = new FaultClient(t, scratch, published, [lagging.url, server.url], { memory });
    assert.equal(await text(client), 'two');
    client.assertCacheIsSound();
  });

  test('stale manifest, objects of the newest revision gone from that mirror', async (t) => {
    const server = await FaultServer.start(t, published);
    const lagging = await FaultServer.start(t, { ...published, storage: stale });
    const client = new FaultClient(t, scratch, published, [server.url, lagging.url]);
    await client.open();
    // The mirror that was good goes; the one that is left does not have what is needed.
    await server.refuse();
    const { code, error, ms } = await ended(() => text(client));
    assert.equal(code, 'NETWORK', messageOf(error));
    assert.ok(ms < LIMITS.deadlineMs + SLACK_MS);
    await server.heal();
    assert.equal(await text(client), 'two');
  });

  test('expired whitelist (freeze)', async (t) => {
    const frozen = join(scratch, 'frozen');
    cpSync(published.storage, frozen, { recursive: true });
    writeFileSync(join(frozen, WHITELIST_PATH), await published.signWhitelist(later(-YEAR_SECONDS)));
    const server = await FaultServer.start(t, { ...published, storage: frozen });
    const good = await FaultServer.start(t, published);
    const alone = new FaultClient(t, scratch, published, [server.url]);
    const { code, error } = await ended(() => text(alone));
    assert.equal(code, 'TRUST', messageOf(error));
    assert.match(messageOf(error), /expired/);
    const both = new FaultClient(t, scratch, published, [server.url, good.url]);
    assert.equal(await text(both), 'two');
    server.serve(published.storage);
    assert.equal(await text(alone), 'two');
    alone.assertCacheIsSound();
  });

  test('mixed catalogs (mix-and-match): the catalog of another revision', async (t) => {
    const server = await FaultServer.start(t, published);
    const good = await FaultServer.start(t, published);
    const newest = objectPath(readManifest(published.storage).rootCatalog, 'C');
    const older = objectPath(readManifest(stale).rootCatalog, 'C');
    const catalog = readFileSync(join(stale, older));
    server.misbehave(({ socket }) => void socket.write(response(catalog)), new RegExp(newest));
    const alone = new FaultClient(t, scratch, published, [server.url]);
    const { code, error } = await ended(() => text(alone));
    assert.equal(code, 'INTEGRITY', messageOf(error));
    const both = new FaultClient(t, scratch, published, [server.url, good.url]);
    assert.equal(await text(both), 'two');
    await server.heal();
    assert.equal(await text(alone), 'two');
  });

  test('mixed manifest (mix-and-match): the root catalog of another revision', async (t) => {
    const server = await FaultServer.start(t, published);
    const manifest = readFileSync(join(published.storage, MANIFEST_PATH), 'latin1');
    const mixed = manifest.replace(
      readManifest(published.storage).rootCatalog,
      readManifest(stale).rootCatalog,
    );
    assert.notEqual(mixed, manifest);
    server.misbehave(({ socket }) => void socket.write(response(Buffer.from(mixed, 'latin1'))), /published$/);
    const client = new FaultClient(t, scratch, published, [server.url]);
    const { code, error } = await ended(() => text(client));
    assert.equal(code, 'INTEGRITY', messageOf(error));
    await server.heal();
    assert.equal(await text(client), 'two');
  });

  test('manifest and whitelist of another repository', async (t) => {
    const other = await publishRepository(t, {}, 'other.example.org');
    await other.publish(dir({ version: file('of another') }));
    const server = await FaultServer.start(t, { ...published, storage: other.storage });
    const client = new FaultClient(t, scratch, published, [server.url]);
    const { code, error } = await ended(() => text(client));
    assert.equal(code, 'TRUST', messageOf(error));
    server.serve(published.storage);
    assert.equal(await text(client), 'two');
  });

  test('clock wrong at boot: far ahead, everything has expired, and the message names the clock', async () => {
    const { repository } = openClient(published, { clock: later(50 * YEAR_SECONDS) });
    await assert.rejects(repository.resolve({}), { code: 'TRUST', hint: /clock/ });
  });

  test('clock wrong at boot: 1970, what is well signed is taken', async () => {
    const { repository } = openClient(published, { clock: later(-nodeClock.unixSeconds()) });
    assert.equal((await repository.resolve({})).revision, 2);
  });

  test('clock jumps: what is open stays, and the next check goes by the new time', async () => {
    let jumpSeconds = 0;
    const clock = { ...later(0), unixSeconds: () => nodeClock.unixSeconds() + jumpSeconds };
    const { repository, objects } = openClient(published, { clock });
    const mounted = await MountedSnapshot.open(await repository.resolve({}), objects, {
      hashing: nodeHashing,
    });
    for (const seconds of [50 * YEAR_SECONDS, -50 * YEAR_SECONDS]) {
      jumpSeconds = seconds;
      await objects.load(mounted.snapshot.rootCatalog, 'C', 1e6, 'root catalog');
      if (seconds > 0) await assert.rejects(repository.resolve({}), { code: 'TRUST' });
      else assert.equal((await repository.resolve({})).revision, 2);
    }
    jumpSeconds = 0;
    assert.equal((await repository.resolve({})).revision, 2);
  });
});
