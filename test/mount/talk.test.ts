/** What scripts of sites say to a mount with `cvmfs_talk`, word for word on a raw socket, and what they look for in the answers. */

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { TALK_COMMANDS } from '../../src/mount/talk-commands.ts';
import { CliRepository } from '../support/cli-repository.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const SHOWN = dir({
  a: file('content of a'),
  b: file('x'.repeat(50_000)),
  sub: dir({ '.cvmfscatalog': file(''), deep: dir({ '.cvmfscatalog': file(''), x: file('x') }) }),
});

/** A mount with a configuration of the CernVM-FS client, as a site has it. */
async function scene(t: TestContext) {
  const scratch = scratchFolder(t);
  const at = (name: string) => join(scratch, name);
  for (const name of ['mount', 'cvmfs']) mkdirSync(at(name));
  makeTree(at('source'), SHOWN);
  const repository = await CliRepository.create(scratch);
  await repository.publish(at('source'));
  const server = await repository.serve();
  t.after(() => server.stop());
  writeFileSync(
    at('cvmfs/default.conf'),
    `CVMFS_CACHE_BASE=${at('cache')}\nCVMFS_SHARED_CACHE=yes\nCVMFS_QUOTA_LIMIT=2000\n`,
  );
  await repository.mount(at('mount'), ['--cvmfs-config', at('cvmfs')], server.url);
  const socket = at(`cache/shared/cvmfs_io.${CliRepository.FQRN}`);
  // Nobody waits for it while a mount is made.
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 20));
  const say = (command: string) => exchange(socket, command);
  return { scratch, repository, server, mountpoint: at('mount'), source: at('source'), socket, say };
}

/** Neither ends the command nor closes its side, as the reference's own client. */
function exchange(path: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect(path, () => void socket.write(command));
    socket.on('data', (piece) => {
      text += piece.toString();
    });
    socket.once('end', () => resolve(text)).once('error', reject);
  });
}

describe('cvmfs_talk', needs('fuse'), () => {
  test('what a mount is and what it was told', async (t) => {
    const { say, mountpoint } = await scene(t);
    readFileSync(join(mountpoint, 'sub/deep/x'));
    const expected: Readonly<Record<string, RegExp>> = {
      mountpoint: new RegExp(`^${mountpoint}\n$`),
      'device id': /^0:\d+\n$/,
      version: /^\d+\.\d+\.\d+\.0 \(Thimble\)\n$/,
      'version patchlevel': /^\d+\n$/,
      revision: /^1\n$/,
      pid: /^\d+\n$/,
      'pid cachemgr': /^\d+\n$/,
      'pid watchdog': /^[1-9]\d*\n$/,
      parameters: /^CVMFS_SERVER_URL=http:\S+ {4}# from .*\n(.*\n)*CVMFS_SUID=no {4}# from default\n/,
      'hotpatch history': /^\w+, .* GMT {4}\(start of Thimble \S+\)\n$/,
      'open catalogs': /^-> \n {4}-> \/sub\n {8}-> \/sub\/deep\n$/,
      'internal affairs': /^Name\|Value\|Description\n(.*\n)*revision\|1\|/m,
      'metrics prometheus': /^thimble_mount_revision\{.*\} 1$/m,
      'cache instance': /^Thimble folder cache \(cache directory: \/.*\)\n$/,
      'cache size': /^Current cache size is 0MB \(\d+ Bytes\), pinned: 0MB \(\d+ Bytes\)\n$/,
      'cache limit get': /^2000\n$/,
      'cache limit set 4000': /^Limit not reset\n$/,
      'cache list catalogs': new RegExp(
        `^file catalog at ${CliRepository.FQRN}:/sub \\(\\w{40}\\S*\\)$`,
        'm',
      ),
      'cleanup rate 60': /^0\n$/,
      'host info': /^ {2}\[0\] http:\S+ \(unprobed\)\nActive host 0: http:\S+\n$/,
      'proxy info': /^Load-balance groups:\n\[0\] DIRECT\nActive proxy: \[0\] DIRECT\n$/,
      'external host info': /^No hosts defined\n$/,
      'external proxy info': /^No proxies defined\n$/,
      'timeout info': /^Timeout with proxy: 5s\nTimeout without proxy: 10s\n$/,
      'nameserver get': /^DNS server not set\.\n$/,
      'max ttl info': /^unset\n$/,
      'tracebuffer flush': /^OK\n$/,
      'reset error counters': /^OK\n$/,
      latency: /^not supported\n$/,
      evict: /^Usage: evict <path>\n$/,
      'pid of it': /^unknown command\n$/,
      nonsense: /^unknown command\n$/,
    };
    for (const [command, answer] of Object.entries(expected))
      assert.match(await say(command), answer, command);
  });

  test('files are pinned and dropped, and the cache is emptied but for what is pinned', async (t) => {
    const { say, mountpoint } = await scene(t);
    readFileSync(join(mountpoint, 'a'));
    const objects = async () => (await say('cache list')).split('\n').length - 1;
    const before = await objects();
    assert.equal(await say('evict /a'), 'OK\n');
    assert.equal(await objects(), before - 1);
    assert.equal(await say('evict /none'), 'No such regular file\n');
    assert.equal(await say('pin /none'), 'No such regular file or pinning failed\n');
    assert.equal(await say('pin /b'), 'OK\n');
    const pinned = await say('cache list pinned');
    assert.equal(await say('cleanup 0'), 'Not fully cleaned (some of it is pinned)\n');
    assert.deepEqual((await say('cache list')).split('\n').toSorted(), pinned.split('\n').toSorted());
    assert.equal(await say('cleanup 100'), 'OK\n');
    assert.equal(await say('cleanup rate 60'), '1\n');
    assert.match(await say('cleanup many'), /^Failed: "many" is no number\n$/);
    assert.equal(readFileSync(join(mountpoint, 'a'), 'utf8'), 'content of a');
  });

  test('a new revision is looked for, and the time between looks is cut short', async (t) => {
    const { say, repository, source, server } = await scene(t);
    assert.equal(await say('remount'), 'Catalog up to date\n');
    writeFileSync(join(source, 'new'), '');
    await repository.publish(source);
    // The server may have told the mount of it before.
    assert.match(await say('remount sync'), /^(New revision applied|Catalog up to date)\n$/);
    assert.equal(await say('revision'), '2\n');
    assert.equal(await say('max ttl set 3'), 'OK\n');
    assert.equal(await say('max ttl info'), '3 minutes\n');
    await server.stop();
    assert.equal(await say('host set http://127.0.0.1:1/cvmfs/@fqrn@'), 'OK\n');
    assert.equal(await say('tear down to read-only'), 'In read-only mode\n');
    assert.equal(await say('remount'), 'Failed\n');
  });

  test('servers and proxies are switched and replaced', async (t) => {
    const { say, server } = await scene(t);
    const dead = 'http://127.0.0.1:1/cvmfs/@fqrn@';
    assert.equal(await say(`host set ${dead};${server.url}`), 'OK\n');
    assert.match(
      await say('host info'),
      new RegExp(`\\[0\\] http://127\\.0\\.0\\.1:1/cvmfs/${CliRepository.FQRN} `),
    );
    assert.equal(await say('host switch'), 'OK\n');
    assert.match(await say('host info'), new RegExp(`Active host 1: ${server.url}\n$`));
    assert.equal(await say('host probe'), 'OK\n');
    assert.match(
      await say('host info'),
      /^ {2}\[0\] \S+ \(\d+ ms\)\n {2}\[1\] http:\/\/127\.0\.0\.1:1\S+ \(host down\)\n/,
    );
    const [a, b] = ['http://127.0.0.1:3128', 'http://127.0.0.2:3128'];
    assert.equal(await say(`proxy set ${a}|${b};DIRECT`), 'OK\n');
    assert.match(
      await say('proxy info'),
      new RegExp(`\\[0\\] ${a}, ${b}\n\\[1\\] DIRECT\nActive proxy: \\[0\\] `),
    );
    assert.equal(await say('proxy rebalance'), 'OK\n');
    assert.match(await say('proxy info'), /Active proxy: \[0\] /);
    assert.equal(await say('proxy group switch'), 'OK\n');
    assert.match(await say('proxy info'), /Active proxy: \[1\] DIRECT\n/);
    assert.match(await say('proxy set a b'), /^Failed: .*a b/);
  });

  test('thimble talk says the same to mounts by folder and by socket', async (t) => {
    const { mountpoint, socket } = await scene(t);
    for (const where of [
      ['-i', mountpoint],
      ['-p', socket],
    ]) {
      const { stdout, stderr } = await thimble(['talk', ...where, 'cache', 'limit', 'get']);
      assert.equal(stdout, '2000\n', stderr);
    }
    const { answers } = await thimbleJson<{ answers: { name: string; answer: string }[] }>([
      'talk',
      '-i',
      mountpoint,
      'revision',
    ]);
    assert.deepEqual(answers, [{ name: CliRepository.FQRN, answer: '1\n' }]);
    const { status, stderr } = await thimble(['talk', '-i', 'none.example.org', 'pid']);
    assert.equal(status, 3);
    assert.match(stderr, /Cannot find a mount of none\.example\.org/);
  });

  test('the manual tells of each command', () => {
    const manual = readFileSync(new URL('../../docs/manual/status.md', import.meta.url), 'utf8');
    for (const { name } of TALK_COMMANDS) assert.ok(manual.includes(name), name);
  });
});
