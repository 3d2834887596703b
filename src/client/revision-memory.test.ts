import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openClient, publishRepository } from '../../test/support/client-repository.ts';
import { dir, file } from '../../test/support/trees.ts';
import { ThimbleError } from '../core/errors.ts';
import { FolderSource } from '../node/folder-source.ts';
import { MemoryCache } from './cache.ts';
import type { Source } from './network/source.ts';
import type { RememberedRevision, RevisionMemory } from './revision-memory.ts';

const AWAY = {
  name: 'away',
  open: async () => {
    throw new ThimbleError('NETWORK', 'away');
  },
};

function memoryOf(first?: RememberedRevision): RevisionMemory & { known: RememberedRevision | undefined } {
  const memory = {
    known: first,
    recall: () => memory.known,
    remember: ({ revision, rootCatalog }: RememberedRevision) => {
      memory.known = { revision, rootCatalog };
    },
  };
  return memory;
}

/** Two revisions, and the folder as it was after the first. */
async function twoRevisions(t: TestContext) {
  const published = await publishRepository(t);
  const manifestFile = join(published.storage, '.cvmfspublished');
  const first = await published.publish(dir({ file: file('first') }));
  const old = readFileSync(manifestFile);
  const second = await published.publish(dir({ file: file('second') }));
  return { published, first, second, rollBack: () => writeFileSync(manifestFile, old) };
}

test('an older revision than was seen is refused, and another server asked', async (t) => {
  const { published, second, rollBack } = await twoRevisions(t);
  const current = await openClient(published).servers.fetch('.cvmfspublished', async (received) =>
    received.next(),
  );
  rollBack();
  const memory = memoryOf();
  memory.remember({ revision: second.revision, rootCatalog: second.rootCatalog });
  const limits = { memory, minimumRevision: 0 };
  const lagging = new FolderSource(published.storage);
  await assert.rejects(openClient(published, { limits }).repository.fetchManifest(), {
    code: 'TRUST',
    message: /was seen before/,
  });
  const fresh: Source = {
    name: 'fresh',
    open: async (path, options) => {
      const opened = await lagging.open(path, options);
      if (path !== '.cvmfspublished') return opened;
      const pieces = [current];
      return { ...opened, close: () => opened.close(), next: async () => pieces.pop() };
    },
  };
  const { repository } = openClient(published, { limits, sources: [lagging, fresh] });
  assert.equal((await repository.fetchManifest()).revision, second.revision);
});

test('what was verified is remembered, and nothing else', async (t) => {
  const { published, second } = await twoRevisions(t);
  const memory = memoryOf();
  const limits = { memory, minimumRevision: 0 };
  await assert.rejects(openClient(published, { limits, publicKey: undefined }).repository.fetchManifest(), {
    code: 'TRUST',
  });
  assert.equal(memory.known, undefined);
  await openClient(published, { limits }).repository.fetchManifest();
  assert.deepEqual(memory.known, { revision: second.revision, rootCatalog: second.rootCatalog });
});

test('a minimum revision is kept by those too who have seen nothing yet', async (t) => {
  const { published, second } = await twoRevisions(t);
  const open = (minimumRevision: number) =>
    openClient(published, { limits: { memory: memoryOf(), minimumRevision } }).repository.resolve({});
  assert.equal((await open(second.revision)).revision, second.revision);
  await assert.rejects(open(second.revision + 1), { code: 'TRUST', message: /has to be/ });
});

test('where nobody can be asked, the newest that was seen is shown, if its catalog is at hand', async (t) => {
  const { published, second, rollBack } = await twoRevisions(t);
  const limits = { memory: memoryOf(), minimumRevision: 0 };
  const cache = new MemoryCache(1e9);
  const first = openClient(published, { limits, cache });
  await first.objects.load((await first.repository.resolve({})).rootCatalog, 'C', 1e9, 'root catalog');
  const remembered = {
    revision: second.revision,
    rootCatalog: second.rootCatalog,
    tag: undefined,
    isRemembered: true,
  };
  const offline = { limits, cache, sources: [AWAY], retries: { deadlineMs: 1 } };
  assert.deepEqual(await openClient(published, offline).repository.resolve({}), remembered);
  await assert.rejects(openClient(published, offline).repository.resolve({ tag: 'v1' }), { code: 'NETWORK' });
  await assert.rejects(
    openClient(published, { ...offline, cache: new MemoryCache(1e9) }).repository.resolve({}),
    { code: 'NETWORK' },
  );
  rollBack();
  assert.deepEqual(await openClient(published, { limits, cache }).repository.resolve({}), remembered);
});

test('an expired whitelist is no reason to show what was seen before', async (t) => {
  const { published } = await twoRevisions(t);
  const limits = { memory: memoryOf(), minimumRevision: 0 };
  const cache = new MemoryCache(1e9);
  const client = openClient(published, { limits, cache });
  await client.objects.load((await client.repository.resolve({})).rootCatalog, 'C', 1e9, 'root catalog');
  rmSync(join(published.storage, '.cvmfswhitelist'));
  await assert.rejects(openClient(published, { limits, cache }).repository.resolve({}), {
    code: 'NOT_FOUND',
  });
});
