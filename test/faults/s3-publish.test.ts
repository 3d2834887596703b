/** Publishing into an object store, and what becomes of it when that store fails. */

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { FolderTree } from '../../src/publish/folder-tree.ts';
import type { RepositorySettings } from '../../src/publish/repository-settings.ts';
import { httpAddressOf } from '../../src/storage/s3-location.ts';
import { describeTree, readRepository } from '../support/described-tree.ts';
import { fileScope } from '../support/file-scope.ts';
import { noise } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { FQRN, publisherRepository } from '../support/publisher-repository.ts';
import { type Fate, type S3Proxy, type SeenRequest, startS3Proxy } from '../support/s3-proxy.ts';
import { startS3Server } from '../support/s3-server.ts';
import { scratchFolder } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, hardlink, makeTree, symlink } from '../support/trees.ts';

const options = needs('ceph');
const server = options.skip === false ? await startS3Server(fileScope()) : undefined;

/** Small files, one that is cut into chunks, and equal ones; `round` changes a third of them. */
function makeFiles(folder: string, round = 0): void {
  const files = Array.from({ length: 90 }, (_, i) => [
    `f${i}`,
    file(noise(200 + 40 * (i % 70), i % 3 === 0 ? 1000 * round + i + 1 : i + 1)),
  ]);
  makeTree(
    folder,
    dir({
      usr: dir({ '.cvmfscatalog': file(''), ...Object.fromEntries(files) }),
      large: file(noise(40_000)),
      empty: file(''),
      'also-empty': file(''),
      round: file(String(round)),
      link: symlink('usr/f1'),
      same: hardlink('large'),
    }),
  );
}

interface Place {
  readonly scratch: string;
  readonly repository: Awaited<ReturnType<typeof publisherRepository>>;
  readonly proxy: S3Proxy;
  /** Where strangers read it, past the proxy. */
  readonly url: string;
  /** Publishes the files of a round. */
  publish(round?: number): Promise<{ readonly revision: number; readonly rootCatalog: string }>;
  /** What strangers read is the files of a round, every byte of it. */
  assertReadsBack(round?: number): Promise<void>;
}

async function place(
  t: TestContext,
  fate: (request: SeenRequest, before: number) => Fate = () => 'pass',
  changes: Partial<RepositorySettings> = {},
): Promise<Place> {
  const scratch = scratchFolder(t);
  const proxy = await startS3Proxy(t, server!.endpoint, fate);
  const location = server!.location({ acl: 'public-read' });
  const storage = server!.address({ ...location, endpoint: proxy.endpoint });
  const repository = await publisherRepository(scratch, { ...changes, storage });
  const url = httpAddressOf(location);
  const files = (round: number) => {
    const folder = join(scratch, `files-${round}`);
    if (!existsSync(folder)) makeFiles(folder, round);
    return new FolderTree(folder);
  };
  return {
    scratch,
    repository,
    proxy,
    url,
    publish: (round = 0) => repository.publish(files(round)),
    assertReadsBack: async (round = 0) => {
      const actual = await readRepository(url, repository.publicKey);
      assert.deepEqual(actual, await describeTree(new FolderTree(join(scratch, `files-${round}`))));
    },
  };
}

for (const compression of ['zlib', 'none'] as const) {
  test(
    `a tree in an object store (${compression}) is the one that a folder would have; files go many at a time`,
    options,
    async (t) => {
      const here = await place(t, () => 20, { compression });
      const { rootCatalog } = await here.publish();
      await here.assertReadsBack();
      assert.ok(here.proxy.mostAtOnce >= 8, `${here.proxy.mostAtOnce} requests at a time`);
      const local = await publisherRepository(here.scratch, { compression }, 'local');
      const inFolder = await local.publish(new FolderTree(join(here.scratch, 'files-0')));
      assert.equal(rootCatalog, inFolder.rootCatalog);
    },
  );
}

test('a second revision sends what is new, and asks for the rest', options, async (t) => {
  const here = await place(t);
  await here.publish(0);
  const before = here.proxy.requests.length;
  const { revision } = await here.publish(1);
  await here.assertReadsBack(1);
  assert.equal(revision, 2);
  const puts = here.proxy.requests.slice(before).filter(({ method }) => method === 'PUT');
  // A third of the files; then catalogs, history, reference log, manifest.
  assert.ok(puts.length < 50, `${puts.length} files were sent`);
});

test(
  'publishing goes on through a store that refuses, breaks off, and forgets to answer',
  options,
  async (t) => {
    const fates: readonly Fate[] = ['slow-down', 'reset', 'lost', 'torn'];
    const known = new Set<string>();
    // Every request fails once.
    const here = await place(t, ({ method, url }, before) => {
      const isKnown = known.has(`${method} ${url}`);
      known.add(`${method} ${url}`);
      return isKnown ? 'pass' : fates[before % fates.length]!;
    });
    await here.publish();
    await here.assertReadsBack();
  },
);

test(
  'a store that dies in the middle leaves readers at the old revision, and the next publish goes on',
  options,
  async (t) => {
    let putsToLive = Number.POSITIVE_INFINITY;
    const here = await place(t, ({ method }) => {
      if (method === 'PUT' && --putsToLive === 0) void server!.kill();
      return 'pass';
    });
    await here.publish(0);
    putsToLive = 20;
    try {
      await assert.rejects(here.publish(1), { code: 'STORAGE', message: /^Cannot (write|look at) s3:/ });
    } finally {
      await server!.restart();
    }
    await here.assertReadsBack(0);
    const { revision } = await here.publish(1);
    assert.equal(revision, 2);
    await here.assertReadsBack(1);
  },
);

test('a store that is away for a moment in the middle is waited for', options, async (t) => {
  let putsToLive = 20;
  let isBack: Promise<void> | undefined;
  const here = await place(t, ({ method }) => {
    if (method === 'PUT' && --putsToLive === 0) isBack = server!.kill().then(() => server!.restart());
    return 'pass';
  });
  await here.publish();
  await isBack;
  await here.assertReadsBack();
});

test(
  'the command line: create, publish, check by name, read; settings hold no credentials',
  options,
  async (t) => {
    const scratch = scratchFolder(t);
    const config = ['--config', join(scratch, 'config')];
    const location = server!.location({ acl: 'public-read' });
    const storage = server!.address(location);
    const created = await thimbleJson<{ storage: string }>([
      'repo',
      'create',
      FQRN,
      '--storage',
      storage,
      ...config,
    ]);
    assert.equal(created.storage, storage);
    makeFiles(join(scratch, 'files'));
    const { revision } = await thimbleJson<{ revision: number }>([
      'publish',
      FQRN,
      join(scratch, 'files'),
      ...config,
    ]);
    assert.equal(revision, 1);
    const report = await thimbleJson<{ findingsTotal: number; complete: boolean; objects: number }>([
      ...['check', FQRN, '--data', '--all-tags', ...config],
    ]);
    assert.deepEqual([report.findingsTotal, report.complete], [0, true]);
    assert.ok(report.objects > 90);
    await thimbleJson(['repo', 'resign', FQRN, ...config]);
    const publisher = join(scratch, 'config/repositories', FQRN);
    assert.ok(readFileSync(join(publisher, 'repository.yaml'), 'utf8').includes(`storage: ${storage}`));
    const { AWS_SECRET_ACCESS_KEY } = server!.credentials;
    for (const name of readdirSync(publisher)) {
      assert.equal(readFileSync(join(publisher, name)).includes(AWS_SECRET_ACCESS_KEY), false, name);
    }
    const serve = await thimble(['serve', FQRN, ...config]);
    assert.equal(serve.status === 0, false);
    assert.match(
      serve.stderr,
      new RegExp(`^error: Cannot serve ${FQRN}.*\nhint: .* at ${httpAddressOf(location)}\n`),
    );
  },
);

test(
  'the command line: wrong credentials and a bad address end at once, and nothing is made',
  options,
  async (t) => {
    const scratch = scratchFolder(t);
    const create = ['repo', 'create', FQRN, '--config', join(scratch, 'config'), '--storage'];
    const wrong = await thimble([...create, server!.address(server!.location())], {
      env: { AWS_SECRET_ACCESS_KEY: 'wrong' },
    });
    assert.match(wrong.stderr, /^error: Cannot look at s3:\/\/.*\nhint: the credentials are wrong/);
    const bad = await thimble([...create, 's3://bucket/x?regoin=eu']);
    assert.match(
      bad.stderr,
      /^error: Cannot use s3:\/\/bucket\/x\?regoin=eu as storage: there is no parameter regoin\nhint: /,
    );
    assert.equal(bad.status, 2);
    assert.deepEqual(readdirSync(scratch), []);
  },
);
