/** `thimble replicate`, killed at any moment, and run by two at once. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { FQRN } from '../support/publisher-repository.ts';
import { response, startRawServer } from '../support/raw-server.ts';
import { faultsOf, nestedTree, objectsIn, readManifestOf, replicableRepository } from '../support/replica.ts';
import { startThimble, thimble } from '../support/thimble.ts';

/** A repository behind a server that tells of each object asked for. */
async function setUp(t: TestContext) {
  const original = await replicableRepository(t);
  const listener: { onObject: (path: string) => boolean } = { onObject: () => true };
  const { url } = await startRawServer(t, (socket, request) => {
    const [method = '', path = ''] = request.split(' ');
    const file = join(original.storage, path.replace(`/cvmfs/${FQRN}/`, ''));
    if (!existsSync(file)) socket.write(response('', '404 Not Found'));
    else if (method === 'HEAD') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    else if (!path.includes('/data/') || listener.onObject(path)) socket.write(response(readFileSync(file)));
  });
  const folder = join(`${original.storage}.replica`, FQRN);
  const address = `${url}/cvmfs/${FQRN}`;
  const args = ['replicate', address, folder, '--key', original.publicKey, '--history'];
  return { original, folder, args, listener };
}

// Certificate, history, the root catalog, and then what is below it: nine in all.
for (const killAt of [1, 2, 3, 4, 6, 9]) {
  test(`a replication killed at object ${killAt} goes on there`, async (t) => {
    const { original, folder, args, listener } = await setUp(t);
    assert.equal((await thimble(args)).status, 0);
    await original.publish(nestedTree('two'));
    const before = readManifestOf(folder).rootCatalog;
    const child = startThimble(args);
    t.after(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    let asked = 0;
    listener.onObject = () => {
      if (++asked === killAt) child.kill('SIGKILL');
      return true;
    };
    assert.deepEqual(await ended, [null, 'SIGKILL']);
    assert.deepEqual(faultsOf(folder), []);
    // The manifest is the last that changes.
    assert.equal(readManifestOf(folder).rootCatalog, before);
    const had = new Set(objectsIn(folder));
    const twice: string[] = [];
    listener.onObject = (path) => {
      if (had.has(path.replace(`/cvmfs/${FQRN}/`, '')) && !path.endsWith('X')) twice.push(path);
      return true;
    };
    const { status, stderr } = await thimble(args);
    assert.equal(status, 0, stderr);
    assert.deepEqual(twice, []);
    assert.deepEqual(faultsOf(folder), []);
    assert.equal(readManifestOf(folder).rootCatalog, original.manifest().rootCatalog);
    assert.ok(!existsSync(join(folder, '.cvmfs_is_snapshotting')));
  });
}

test('of two replications into one folder, the second is refused', async (t) => {
  const { folder, args, listener } = await setUp(t);
  let waiting = () => {};
  const isWaiting = new Promise<void>((resolve) => {
    waiting = resolve;
  });
  listener.onObject = (path) => {
    if (path.endsWith('C')) waiting();
    return !path.endsWith('C');
  };
  const first = startThimble(args);
  t.after(() => first.kill('SIGKILL'));
  await isWaiting;
  const second = await thimble(args);
  assert.equal(second.status, 9, second.stderr);
  assert.match(second.stderr, new RegExp(`process ${first.pid} on .* is changing it`));
  // A holder that died holds nothing.
  const ended = once(first, 'exit');
  first.kill('SIGKILL');
  await ended;
  listener.onObject = () => true;
  const third = await thimble(args);
  assert.equal(third.status, 0, third.stderr);
  assert.deepEqual(faultsOf(folder), []);
});

test('a signal ends a replication that waits for its source, and nothing is broken', async (t) => {
  const { folder, args, listener } = await setUp(t);
  const child = startThimble(args);
  t.after(() => child.kill('SIGKILL'));
  listener.onObject = (path) => {
    if (!path.endsWith('C')) return true;
    setTimeout(() => child.kill('SIGTERM'), 100);
    return false;
  };
  const [status] = await once(child, 'exit');
  assert.equal(status, 130);
  assert.ok(!existsSync(join(folder, '.cvmfs_is_snapshotting')));
  assert.deepEqual(faultsOf(folder), []);
});
