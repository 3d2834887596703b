import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { geoDatabase } from '../../test/support/geo-database.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { GeoDatabase } from './geo-database.ts';
import { RepositoryServer, type ServerOptions } from './repository-server.ts';

async function serve(t: TestContext, options: Partial<ServerOptions> = {}) {
  const folder = scratchFolder(t);
  for (const name of ['master', 'replica', 'beginning']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'replica', '.cvmfs_last_snapshot'), '');
  writeFileSync(join(folder, 'beginning', '.cvmfs_is_snapshotting'), '');
  const served = ['master', 'replica', 'beginning'].map((name) => ({
    fqrn: `${name}.example.org`,
    folder: join(folder, name),
  }));
  const server = new RepositoryServer(served, { host: '127.0.0.1', port: 0, ...options });
  const address = await server.listen();
  t.after(() => server.close());
  return (path: string, headers: Record<string, string> = {}) =>
    fetch(`${address}/cvmfs/${path}`, { headers });
}

test('the server tells which repositories it has, and which are replicas', async (t) => {
  const answer = await (await serve(t))('info/v1/repositories.json');
  assert.deepEqual(await answer.json(), {
    schema: 1,
    repositories: [{ name: 'master.example.org', url: '/cvmfs/master.example.org' }],
    replicas: [
      { name: 'replica.example.org', url: '/cvmfs/replica.example.org' },
      { name: 'beginning.example.org', url: '/cvmfs/beginning.example.org' },
    ],
  });
  assert.equal(answer.headers.get('cache-control'), 'public, max-age=61');
  assert.match(answer.headers.get('content-type')!, /^application\/json/);
});

test('the server tells who runs it, as it was told', async (t) => {
  const none = await (await serve(t))('info/v1/meta.json');
  assert.deepEqual(await none.json(), { administrator: '', email: '', organisation: '', custom: {} });
  const metadata = { administrator: 'Ada', custom: { rack: 7 } };
  assert.deepEqual(await (await (await serve(t, { metadata }))('info/v1/meta.json')).json(), metadata);
});

test('the server says which server is nearest, below each of its repositories', async (t) => {
  const path = join(scratchFolder(t), 'geo.mmdb');
  writeFileSync(
    path,
    geoDatabase({
      '127.0.0.0/8': { location: { latitude: 46, longitude: 6 } },
      '192.0.2.0/24': { location: { latitude: 47, longitude: 7 } },
      '203.0.113.0/24': { location: { latitude: -33, longitude: 151 } },
    }),
  );
  const ask = await serve(t, { geoDatabase: GeoDatabase.open(path) });
  const geo = 'replica.example.org/api/v1.0/geo/uuid/203.0.113.1,192.0.2.1';
  const answer = await ask(geo);
  assert.deepEqual([answer.status, await answer.text()], [200, '2,1\n']);
  assert.match(answer.headers.get('content-type')!, /^text\/plain/);
  assert.equal(answer.headers.get('cache-control'), 'public, max-age=300');
  assert.equal(await (await ask(geo, { 'X-Forwarded-For': '192.0.2.9, 203.0.113.9' })).text(), '1,2\n');
  assert.equal(await (await ask(geo, { 'CF-Connecting-IP': '203.0.113.9' })).text(), '1,2\n');
  assert.equal((await ask(geo.replace('replica', 'other'))).status, 404);
});

test('the server answers 400 in plain text to what it cannot order, and caches do not keep that', async (t) => {
  const answer = await (await serve(t))('master.example.org/api/v1.0/geo/only');
  assert.equal(answer.status, 400);
  assert.match(await answer.text(), /^Cannot answer: .*\n$/);
  assert.equal(answer.headers.get('cache-control'), 'no-cache');
});

test('the server has the partial marker of a replica', async (t) => {
  const folder = scratchFolder(t);
  writeFileSync(join(folder, '.cvmfs_partial_replication'), 'version 1\n/usr\n');
  const server = new RepositoryServer([{ fqrn: 'part.example.org', folder }], { host: '127.0.0.1', port: 0 });
  const address = await server.listen();
  t.after(() => server.close());
  const answer = await fetch(`${address}/cvmfs/part.example.org/.cvmfs_partial_replication`);
  assert.equal(await answer.text(), 'version 1\n/usr\n');
});
