/**
 * `--deadline wait`, for a root file system: whoever reads waits for the network however long it is away, can be killed, and has the
 * right bytes when it is back.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { DEFAULT_NETWORK_SETTINGS } from '../../../src/client/network/network-settings.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { SLACK_MS } from '../../support/fault-client.ts';
import { FaultMount } from '../../support/fault-mount.ts';
import { FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { troubleOf } from '../../support/http-faults.ts';
import { noise } from '../../support/memory-tree.ts';
import { needs } from '../../support/needs.ts';
import { dir, file } from '../../support/trees.ts';

/** So long is each of the faults there; each try of a request is over sooner, and a pause between two is. */
const FAULT_MS = 3_000;
const TIMEOUT_MS = 1_000;
const RETRY_PERIOD_MS = DEFAULT_NETWORK_SETTINGS.backoffMaxMs;
const READERS = 40;

const LARGE = Buffer.from(noise(1_200_000, 2));
const contentOf = (index: number) => Buffer.from(noise(3_000, 100 + index));

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishRepository(scope);
  const many = Object.fromEntries(
    Array.from({ length: READERS }, (_, index) => [`f${index}`, file(contentOf(index))]),
  );
  const inCatalog = dir({ '.cvmfscatalog': file(''), x: file('x') });
  await published.publish(dir({ seen: file('seen'), large: file(LARGE), many: dir(many), sub: inCatalog }));
});

async function mountOf(t: TestContext) {
  const server = await FaultServer.start(t, published);
  const args = ['--deadline', 'wait', '-o', `servers.timeoutSeconds=${TIMEOUT_MS / 1000}`];
  const mount = await FaultMount.create(t, published, server.url, { args });
  assert.equal((await mount.read('seen')).content.toString(), 'seen');
  return { server, mount, at: (path: string) => join(mount.mountpoint, path) };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('waiting for the network', needs('fuse'), () => {
  test('a reader outlasts all that can be wrong with it, one after the other', async (t) => {
    const { server, mount } = await mountOf(t);
    await server.refuse();
    let isWaiting = true;
    const reading = mount.read('large').finally(() => {
      isWaiting = false;
    });
    await pause(FAULT_MS);
    for (const name of [
      '503 Service Unavailable',
      'accepted and never answered',
      'SYN black hole',
      'connection refused',
    ]) {
      await server.heal();
      await troubleOf(name).begin(server, /^data/);
      await pause(FAULT_MS);
      assert.ok(isWaiting, name);
    }
    await server.heal();
    const healedMs = performance.now();
    const { content, error } = await reading;
    const ms = performance.now() - healedMs;
    assert.equal(error, '');
    assert.ok(content.equals(LARGE));
    assert.ok(ms < RETRY_PERIOD_MS + TIMEOUT_MS + SLACK_MS, `it was there ${ms} ms after the network`);
    await mount.assertNobodyIsStuck();
  });

  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    test(`${signal} ends a reader, in whatever it waits`, async (t) => {
      const { server, mount, at } = await mountOf(t);
      await server.refuse();
      for (const [program, ...args] of [
        ['cat', at('large')],
        ['dd', `if=${at('large')}`, 'of=/dev/null', 'skip=1000', 'count=1'],
        ['stat', at('sub/x')],
        ['ls', at('sub')],
      ] as const) {
        const reader = spawn(program, args, { stdio: 'ignore' });
        const ended = new Promise((resolve) => reader.once('exit', (_, by) => resolve(by)));
        await pause(TIMEOUT_MS);
        const killedMs = performance.now();
        reader.kill(signal);
        assert.equal(await ended, signal, `${program} was still waiting`);
        const ms = performance.now() - killedMs;
        assert.ok(ms < SLACK_MS, `${program} ended ${ms} ms after it was killed`);
      }
      assert.equal((await mount.read('seen')).content.toString(), 'seen');
      await mount.assertNobodyIsStuck();
      await server.heal();
      assert.ok((await mount.read('large')).content.equals(LARGE), 'others are served as ever');
      assert.equal((await mount.read('sub/x')).content.toString(), 'x');
    });
  }

  test('many who wait all have the right bytes', async (t) => {
    const { server, mount } = await mountOf(t);
    await server.vanish();
    const readings = Array.from({ length: READERS }, (_, index) => mount.read(`many/f${index}`));
    await pause(FAULT_MS);
    await server.heal();
    for (const [index, { content, error }] of (await Promise.all(readings)).entries()) {
      assert.equal(error, '');
      assert.ok(content.equals(contentOf(index)), `f${index}`);
    }
    await mount.assertNobodyIsStuck();
  });
});
