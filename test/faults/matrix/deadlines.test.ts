/** One wait of a program has one deadline, whatever else was asked for before, and however many requests it takes. */

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { messageOf } from '../../../src/core/errors.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { ended, FaultClient, LIMITS, SLACK_MS } from '../../support/fault-client.ts';
import { FaultMount } from '../../support/fault-mount.ts';
import { bytesOfAnswer, FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { troubleOf } from '../../support/http-faults.ts';
import { noise } from '../../support/memory-tree.ts';
import { needs } from '../../support/needs.ts';
import { response } from '../../support/raw-server.ts';
import { memoryScratch } from '../../support/scratch.ts';
import { dir, file } from '../../support/trees.ts';

/** Two of them are more than one with `SLACK_MS`. */
const DEADLINE_MS = 8_000;

const scope = fileScope();
let scratch: string;
let published: PublishedRepository;

before(async () => {
  scratch = memoryScratch(scope);
  published = await publishRepository(scope);
  await published.publish(dir({ seen: file('seen'), large: file(noise(600_000)) }));
});

describe('deadline', { concurrency: 3 }, () => {
  test('a read of a mount fails once, though the kernel asks twice', needs('fuse'), async (t) => {
    const server = await FaultServer.start(t, published);
    const mount = await FaultMount.create(t, published, server.url, { deadlineSeconds: 3 });
    assert.equal((await mount.read('seen')).content.toString(), 'seen');
    await troubleOf('accepted and never answered').begin(server, /^data/);
    const { error, content } = await mount.read('large');
    assert.notEqual(error, '');
    assert.equal(content.length, 0);
    // The time-out of a request is longer than the deadline: whoever waited for a second one has sent one.
    assert.equal(server.paths.filter((path) => path === server.paths.at(-1)).length, 1);
    await mount.assertNobodyIsStuck();
  });

  test('the head of a repository: what is slow first leaves less for what is slow then', async (t) => {
    const server = await FaultServer.start(t, published);
    const client = new FaultClient(t, scratch, published, [server.url], {
      limits: { deadlineMs: DEADLINE_MS, timeoutMs: 60_000 },
    });
    server.misbehave(({ socket, good }) => {
      setTimeout(() => socket.write(bytesOfAnswer(good)), DEADLINE_MS - 1_000);
    }, /published$/);
    await troubleOf('accepted and never answered').begin(server, /whitelist$/);
    const { code, error, ms } = await ended(() => client.resolve());
    assert.equal(code, 'NETWORK', messageOf(error));
    assert.ok(ms < DEADLINE_MS + SLACK_MS, `it failed after ${ms} ms`);
    await server.heal();
    assert.ok((await client.resolve()).revision);
  });

  for (const [how, headers] of [
    ['seconds', ['Retry-After: 3600']],
    ['a date', ['Date: Sun, 06 Nov 1994 08:00:00 GMT', 'Retry-After: Sun, 06 Nov 1994 09:00:00 GMT']],
  ] as const) {
    test(`Retry-After with ${how}, beyond the deadline: nobody waits for it, and another server is asked`, async (t) => {
      const [busy, good] = [await FaultServer.start(t, published), await FaultServer.start(t, published)];
      busy.misbehave(({ socket }) => void socket.write(response('', '503 Service Unavailable', headers)));
      const alone = new FaultClient(t, scratch, published, [busy.url]);
      const { code, ms } = await ended(() => alone.resolve());
      assert.equal(code, 'NETWORK');
      assert.ok(ms < LIMITS.deadlineMs, `it failed after ${ms} ms`);
      const asked = busy.paths.length;
      await assert.rejects(alone.resolve(), { code: 'NETWORK' });
      assert.equal(busy.paths.length, asked, 'it is left alone');
      const both = new FaultClient(t, scratch, published, [busy.url, good.url]);
      assert.equal((await both.read('seen')).toString(), 'seen');
    });
  }
});
