import assert from 'node:assert/strict';
import { test } from 'node:test';
import { response, startRawServer } from '../../../test/support/raw-server.ts';
import { nodeClock } from '../../node/clock.ts';
import { nodeSockets } from '../../node/sockets.ts';
import { readWhole } from '../objects.ts';
import { HttpClient } from './http-client.ts';
import { HttpSource } from './source.ts';
import { Urgency } from './urgency.ts';

const DEADLINE_MS = 60_000;

test('a background request that somebody comes to wait for does not wait for others of the background', async (t) => {
  const { url, requests } = await startRawServer(t, (socket, request) => {
    if (!request.startsWith('GET /never')) socket.write(response('content'));
  });
  // One connection in the background, and two for those who wait.
  const client = new HttpClient(nodeSockets, nodeClock, { maxConnectionsPerHost: 2 });
  const source = new HttpSource(client, url);
  const options = () => ({
    deadlineMs: nodeClock.monotonicMs() + DEADLINE_MS,
    noCache: false,
    background: true,
  });
  // It ends when the server does.
  source.open('never', options()).catch(() => {});
  const [first, second] = [new Urgency(), new Urgency()];
  const opened = [first, second].map((urgency) => source.open('file', { ...options(), urgency }));
  while (requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(requests.length, 1, 'both wait');
  second.raise();
  assert.equal(Buffer.from(await readWhole(await opened[1]!, 100)).toString(), 'content');
  // Its connection is free, and is not for the background.
  first.raise();
  assert.equal(Buffer.from(await readWhole(await opened[0]!, 100)).toString(), 'content');
  client.close();
});

test('Urgency is raised once, and calls back whoever asked last', () => {
  const urgency = new Urgency();
  const called: string[] = [];
  urgency.onRaised(() => void called.push('first'));
  urgency.onRaised(() => void called.push('second'));
  urgency.raise();
  urgency.raise();
  assert.deepEqual(called, ['second']);
  assert.equal(urgency.isRaised, true);
});
