import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needs } from '../support/needs.ts';
import { contentOf, pathOf, type ReaderResult, SupervisedMount, until } from '../support/supervised-mount.ts';

const FILES = 60;

/**
 * Readers wait for a web server that says nothing; then the process that serves the mount is killed, another takes over, and the web
 * server goes on.
 */
async function killedWhileTheyWait(
  t: TestContext,
): Promise<{ scene: SupervisedMount; result: ReaderResult }> {
  const scene = await SupervisedMount.create(t, FILES);
  const server = await scene.repository.serve();
  t.after(() => {
    process.kill(server.pid, 'SIGCONT');
    return server.stop();
  });
  await scene.repository.mount(scene.mountpoint, [], server.url);
  assert.equal(await readFile(join(scene.mountpoint, pathOf(0)), 'latin1'), contentOf(0));
  process.kill(server.pid, 'SIGSTOP');
  const { child, result } = scene.startReader(1, FILES, 100);
  await until(() => threadsThatWait(child.pid!) >= FILES / 2);
  await scene.replaceServer();
  process.kill(server.pid, 'SIGCONT');
  return { scene, result: await result };
}

/** Threads that sleep in the kernel until a FUSE server answers, or has filled a page. */
function threadsThatWait(pid: number): number {
  const places = readdirSync(`/proc/${pid}/task`).map((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/wchan`, 'latin1'),
  );
  return places.filter((place) => /request_wait_answer|fuse|folio_wait|filemap/.test(place)).length;
}

describe('readers whose requests a dead process had read', needs('fuse'), () => {
  test('they get their bytes from the next one, where the kernel can ask again', async (t) => {
    const { result } = await killedWhileTheyWait(t);
    assert.deepEqual(result, { read: FILES - 1, wrong: 0, errors: [] });
  });

  test('on older kernels none hangs: an error at worst, and never a wrong byte', async (t) => {
    process.env['THIMBLE_LOST_REQUESTS'] = 'fail';
    t.after(() => {
      delete process.env['THIMBLE_LOST_REQUESTS'];
    });
    const { scene, result } = await killedWhileTheyWait(t);
    assert.equal(result.wrong, 0);
    assert.deepEqual(
      [...new Set(result.errors)].filter((code) => code !== 'ESTALE'),
      [],
    );
    assert.match(scene.log, /requests were lost with the last server/);
    const { result: again } = scene.startReader(0, FILES, 8);
    assert.deepEqual(await again, { read: FILES, wrong: 0, errors: [] });
  });
});
