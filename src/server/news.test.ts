import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { News } from './news.ts';
import { RepositoryServer } from './repository-server.ts';

const hashOf = (digit: string) => `${digit.repeat(40)}-shake128` as ContentHash;

function publish(folder: string, digit: string): void {
  writeFileSync(join(folder, '.new'), `C${hashOf(digit)}\nS1\n--\n`);
  renameSync(join(folder, '.new'), join(folder, '.cvmfspublished'));
}

const stay = () => {};

test('who shows something old is told at once, who shows the newest when there is a newer', async (t) => {
  const folder = scratchFolder(t);
  publish(folder, 'a');
  const news = new News(folder);
  assert.equal(await news.wait(hashOf('0'), 60_000, stay), hashOf('a'));
  const waiting = [1, 2].map(() => news.wait(hashOf('a'), 60_000, stay));
  while (news.waiting < 2) await new Promise((resolve) => setImmediate(resolve));
  publish(folder, 'b');
  assert.deepEqual(await Promise.all(waiting), [hashOf('b'), hashOf('b')]);
  assert.equal(news.waiting, 0);
});

test('nobody waits for ever: time passes, clients leave, servers close, manifests are missing', async (t) => {
  const folder = scratchFolder(t);
  const news = new News(folder);
  assert.equal(await news.wait(hashOf('a'), 10, stay), undefined);
  assert.equal(await news.wait(hashOf('a'), 60_000, (leave) => leave()), undefined);
  const waiting = news.wait(hashOf('a'), 60_000, stay);
  while (news.waiting === 0) await new Promise((resolve) => setImmediate(resolve));
  news.close();
  assert.equal(await waiting, undefined);
  publish(folder, 'a');
  rmSync(folder, { recursive: true });
  assert.equal(await news.wait(hashOf('a'), 10, stay), undefined);
});

test('the server answers over HTTP, and refuses what is no root hash', async (t) => {
  const folder = scratchFolder(t);
  publish(folder, 'a');
  const server = new RepositoryServer([{ fqrn: 'n.example.org', folder }], { host: '127.0.0.1', port: 0 });
  const address = await server.listen();
  t.after(() => server.close());
  const ask = (shown: string) => fetch(`${address}/cvmfs/n.example.org/api/v1.0/news/${shown}`);
  const answer = await ask(hashOf('0'));
  assert.deepEqual(
    [answer.status, answer.headers.get('cache-control'), await answer.text()],
    [200, 'no-store', `${hashOf('a')}\n`],
  );
  assert.equal((await ask('whatever')).status, 400);
  const pending = ask(hashOf('a'));
  await new Promise((resolve) => setTimeout(resolve, 100));
  publish(folder, 'b');
  assert.equal(await (await pending).text(), `${hashOf('b')}\n`);
});
