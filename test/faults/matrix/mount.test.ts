/**
 * Faults as programs meet them that read from a mount: an error at the deadline and no wrong byte, cached files as ever, a
 * reader that can be killed, no process that hangs, and all well soon after the fault has ended.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { DEFAULT_NETWORK_SETTINGS } from '../../../src/client/network/network-settings.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { assertCacheComesToRest, SLACK_MS } from '../../support/fault-client.ts';
import { FaultMount } from '../../support/fault-mount.ts';
import { FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { troubleOf } from '../../support/http-faults.ts';
import { noise } from '../../support/memory-tree.ts';
import { needs } from '../../support/needs.ts';
import { NetworkNamespace } from '../../support/network-namespace.ts';
import { dir, file } from '../../support/trees.ts';

const DEADLINE_MS = 1_000;
const RETRY_PERIOD_MS = DEFAULT_NETWORK_SETTINGS.backoffMaxMs;
const CONTENT = Buffer.from(noise(40_000));
const UNREAD: Readonly<Record<string, Buffer>> = {
  // Does not fit into what is taken whole: it streams into the cache.
  a: Buffer.from(noise(1_200_000, 2)),
  b: Buffer.from(noise(30_000, 3)),
  c: Buffer.from(noise(30_000, 4)),
};
const EXPECTED: Readonly<Record<string, Buffer>> = { ...UNREAD, 'sub/x': Buffer.from('x') };
const CACHE_LIMIT_BYTES = 2 ** 32;
/** Those that keep a reader waiting until its deadline. */
const SLOW = /refused|hole|never|stalls|loris|503/;
/** Those in which nobody answers at all. */
const SILENT = /refused|hole|never/;

const scope = fileScope();
let published: PublishedRepository;

before(async () => {
  published = await publishRepository(scope);
  const unread = Object.fromEntries(Object.entries(UNREAD).map(([name, content]) => [name, file(content)]));
  await published.publish(
    dir({
      ...unread,
      seen: file(CONTENT),
      twin: file(CONTENT),
      tool: file('#!/bin/echo well\n', { mode: 0o755 }),
      sub: dir({ '.cvmfscatalog': file(''), x: file('x') }),
    }),
  );
});

/** What holds of any fault, from its begin to its end. */
async function assertIsSurvived(
  mount: FaultMount,
  name: string,
  begin: () => unknown,
  end: () => unknown,
): Promise<void> {
  assert.ok((await mount.read('seen')).content.equals(CONTENT));
  await begin();
  const [failed, listed, twin, killedMs] = await Promise.all([
    mount.read('a'),
    mount.read('sub/x'),
    // Not in the page cache: it comes from the cache of objects.
    mount.read('twin'),
    SLOW.test(name) ? mount.readAndKill('c', DEADLINE_MS / 2) : 0,
  ]);
  for (const { error, content, ms } of [failed, listed]) {
    assert.match(error, SILENT.test(name) ? /Network is unreachable/ : /Input\/output error/, name);
    assert.equal(content.length, 0);
    assert.ok(ms < DEADLINE_MS + SLACK_MS, `${name}: an error after ${ms} ms`);
  }
  assert.equal(twin.error, '', name);
  assert.ok(twin.content.equals(CONTENT), `${name}: cached content is there`);
  assert.ok(killedMs < SLACK_MS, `${name}: killed within ${killedMs} ms`);
  await mount.assertNobodyIsStuck();
  await end();
  for (const path of ['a', 'sub/x', 'b']) await assertIsWellAgain(mount, path, name);
  await mount.assertNobodyIsStuck();
  await assertCacheComesToRest(mount.cache, CACHE_LIMIT_BYTES);
}

async function assertIsWellAgain(mount: FaultMount, path: string, name: string): Promise<void> {
  const untilMs = performance.now() + RETRY_PERIOD_MS + SLACK_MS;
  let { content, error } = await mount.read(path);
  while (error !== '' && performance.now() < untilMs) ({ content, error } = await mount.read(path));
  assert.equal(error, '', `${name}: well again`);
  assert.ok(content.equals(EXPECTED[path]!), `${name}: the right bytes`);
}

async function mountOf(t: TestContext, deadlineSeconds = DEADLINE_MS / 1000) {
  const server = await FaultServer.start(t, published);
  const mount = await FaultMount.create(t, published, server.url, { deadlineSeconds });
  return { server, mount };
}

describe('fault under a mount', { concurrency: 3, ...needs('fuse') }, () => {
  for (const name of [
    'connection refused',
    'SYN black hole',
    'accepted and never answered',
    'body that stalls',
    'slow loris, body at 1 byte/s',
    'wrong bytes',
    'bytes of another valid object',
    'captive portal with 200',
    'redirect to a captive portal',
    '404 Not Found',
    '503 Service Unavailable',
    'endless body in chunks',
  ]) {
    test(name, async (t) => {
      const { server, mount } = await mountOf(t);
      const { begin } = troubleOf(name);
      await assertIsSurvived(
        mount,
        name,
        () => begin(server, /^data/),
        () => server.heal(),
      );
    });
  }

  test('MTU black hole', async (t) => {
    const network = NetworkNamespace.create(t);
    const server = await FaultServer.start(t, published, { host: network.address });
    const mount = await FaultMount.create(t, published, server.url, { prefix: network.prefix });
    assert.ok((await mount.read('seen')).content.equals(CONTENT));
    network.loseLargePackets();
    const [failed, killedMs] = await Promise.all([mount.read('a'), mount.readAndKill('c', DEADLINE_MS / 2)]);
    // The first word of an answer may be in a packet that was small enough.
    assert.match(failed.error, /Network is unreachable|Input\/output error/);
    assert.ok(failed.ms < DEADLINE_MS + SLACK_MS);
    assert.ok(killedMs < SLACK_MS);
    await mount.assertNobodyIsStuck();
    network.mend();
    await assertIsWellAgain(mount, 'a', 'MTU black hole');
  });

  test('network interface down', async (t) => {
    const network = NetworkNamespace.create(t);
    const server = await FaultServer.start(t, published, { host: network.address });
    const mount = await FaultMount.create(t, published, server.url, { prefix: network.prefix });
    await assertIsSurvived(
      mount,
      'interface refused',
      () => network.unplug(),
      () => network.plugIn(),
    );
  });

  test('a network that is gone is told as such, whatever a program does', async (t) => {
    const { server, mount } = await mountOf(t);
    await server.refuse();
    const at = (path: string) => join(mount.mountpoint, path);
    const programs: Readonly<Record<string, readonly string[]>> = {
      read: ['cat', at('b')],
      'positioned read': ['dd', `if=${at('a')}`, 'of=/dev/null', 'bs=4096', 'skip=100', 'count=1'],
      copy: ['cp', at('c'), '/dev/null'],
      lookup: ['stat', at('sub/x')],
      readdir: ['ls', at('sub')],
      exec: ['env', at('tool')],
    };
    for (const [name, program] of Object.entries(programs)) {
      const { error, ms } = await mount.run(program);
      assert.match(error, /Network is unreachable/, name);
      assert.ok(ms < DEADLINE_MS + SLACK_MS, `${name}: an error after ${ms} ms`);
    }
    await server.heal();
    assert.match((await mount.run(['env', at('tool')])).content.toString(), /^well /);
  });

  test('a reader that waits has its file within one retry period of the end of the fault', async (t) => {
    const { server, mount } = await mountOf(t, 600);
    await mount.read('seen');
    await server.refuse();
    const reading = mount.read('a');
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await server.heal();
    const healedMs = performance.now();
    const { error, content } = await reading;
    assert.equal(error, '');
    assert.ok(content.equals(EXPECTED['a']!));
    assert.ok(performance.now() - healedMs < RETRY_PERIOD_MS + SLACK_MS);
  });
});
