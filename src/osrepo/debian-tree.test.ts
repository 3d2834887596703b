import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, makeTree, readTree, symlink } from '../../test/support/trees.ts';
import { ThimbleError } from '../core/errors.ts';
import { buildDebianTree, SERVER_PACKAGES } from './debian-tree.ts';

/** Puts shell scripts in the place of mmdebstrap and apt-get; answers with the folder they are in. */
function fakePrograms(t: TestContext, mmdebstrap: string | undefined): string {
  const folder = scratchFolder(t);
  const scripts = { mmdebstrap, 'apt-get': 'echo http://mirror.example.org/debian' };
  for (const [name, script] of Object.entries(scripts)) {
    if (script !== undefined) {
      writeFileSync(join(folder, name), `#!/bin/sh\n${script.replaceAll('FOLDER', folder)}\n`, {
        mode: 0o755,
      });
    }
  }
  const path = process.env['PATH'] ?? '';
  process.env['PATH'] = mmdebstrap === undefined ? folder : `${folder}${delimiter}${path}`;
  t.after(() => {
    process.env['PATH'] = path;
  });
  return folder;
}

const RECORD = `printf '%s\\0' "$@" >FOLDER/args; env >FOLDER/env`;
const OPTIONS = { suite: 'trixie', packages: ['apt', 'systemd'], output: 'tree.tar' };

async function recordedArguments(t: TestContext): Promise<{ args: string[]; env: string }> {
  const folder = fakePrograms(t, RECORD);
  await buildDebianTree(OPTIONS);
  return {
    args: readFileSync(join(folder, 'args'), 'utf8').split('\0').slice(0, -1),
    env: readFileSync(join(folder, 'env'), 'utf8'),
  };
}

describe('buildDebianTree()', () => {
  test('buildDebianTree() asks mmdebstrap for a minimal tree from the mirrors of this machine', async (t) => {
    const { args, env } = await recordedArguments(t);
    const kernel = { x64: 'linux-image-cloud-amd64', arm64: 'linux-image-cloud-arm64' }[
      process.arch as 'x64'
    ];
    assert.deepEqual(
      args.filter((arg) => !arg.startsWith('--customize-hook=')),
      [
        '--variant=minbase',
        `--include=apt,systemd,${kernel}`,
        '--aptopt=APT::Install-Recommends "false"',
        'trixie',
        'tree.tar',
        'deb http://mirror.example.org/debian trixie main',
        'deb http://mirror.example.org/debian trixie-updates main',
        'deb http://mirror.example.org/debian-security trixie-security main',
      ],
    );
    for (const line of ['DEBIAN_FRONTEND=noninteractive', 'INITRD=No', 'LC_ALL=C.UTF-8']) {
      assert.ok(env.split('\n').includes(line), line);
    }
  });

  test('buildDebianTree() gives hooks that a shell understands', async (t) => {
    const { args } = await recordedArguments(t);
    const hooks = args.filter((arg) => arg.startsWith('--customize-hook='));
    assert.ok(hooks.length > 0);
    for (const hook of hooks) {
      const script = hook.slice('--customize-hook='.length);
      const { status, stderr } = spawnSync('/bin/sh', ['-n'], { input: script, encoding: 'utf8' });
      assert.deepEqual([status, stderr], [0, ''], script);
    }
  });

  test('buildDebianTree() leaves nothing in the tree that belongs to one machine', async (t) => {
    const { args } = await recordedArguments(t);
    const folder = scratchFolder(t);
    const tree = join(folder, 'a tree'); // with a space, as folders of users may be
    const outside = dir({ ssh_host_a_key: file('outside') });
    makeTree(folder, dir({ outside }));
    makeTree(
      tree,
      dir({
        'vmlinuz.old': symlink('boot/vmlinuz-6'),
        'initrd.img': symlink('boot/initrd.img-6'),
        boot: dir({ 'vmlinuz-6': file('kernel'), 'initrd.img-6': file('initrd') }),
        etc: dir({
          ssh: dir({
            ssh_host_rsa_key: file('secret'),
            'ssh_host_rsa_key.pub': file(''),
            sshd_config: file(''),
          }),
          'machine-id': file('0123\n'),
          'resolv.conf': file('nameserver 192.0.2.1\n'),
          hostname: file('builder\n'),
          systemd: dir({ network: dir({}), system: dir({}) }),
        }),
        var: dir({
          lib: dir({ dbus: dir({ 'machine-id': symlink('/etc/machine-id') }) }),
          log: dir({ 'dpkg.log': file('x'), apt: dir({ 'history.log': file('x') }), wtmp: file('') }),
          cache: dir({ ldconfig: dir({ 'aux-cache': file('x') }) }),
        }),
      }),
    );
    for (const arg of args) {
      const script = arg.replace('--customize-hook=', '');
      // The rest runs programs of the tree, which has none here.
      if (script === arg || script.startsWith('chroot ')) continue;
      const { status, stderr } = spawnSync('/bin/sh', ['-ec', script, 'sh', tree], { encoding: 'utf8' });
      assert.deepEqual([status, stderr], [0, ''], script);
    }
    const seen = readTree(tree);
    const files = [...seen].filter(([, entry]) => entry.sha256 !== undefined).map(([path]) => path);
    assert.deepEqual(files, [
      '/boot/vmlinuz-6',
      '/etc/hostname',
      '/etc/machine-id',
      '/etc/ssh/sshd_config',
      '/etc/systemd/network/80-thimble.network',
      '/etc/systemd/system/sshd-keygen.service.d/thimble.conf',
      '/var/log/wtmp',
    ]);
    assert.equal(seen.get('/etc/machine-id')!.size, 0);
    assert.equal(readFileSync(join(tree, 'etc/hostname'), 'utf8'), 'localhost\n');
    assert.deepEqual(
      [...seen.values()].filter((entry) => entry.target !== undefined),
      [],
    );
  });

  test('buildDebianTree() tells its progress line by line', async (t) => {
    const script = String.raw`printf 'I: running apt-get up' >&2; printf 'date...\nW: odd\n I: no\rI: done\n' >&2`;
    fakePrograms(t, script);
    const lines: string[] = [];
    await buildDebianTree({ ...OPTIONS, onProgress: (line) => lines.push(line) });
    assert.deepEqual(lines, ['running apt-get update...', 'done']);
  });

  test('buildDebianTree() reports the last reasons that mmdebstrap gives', async (t) => {
    fakePrograms(
      t,
      'for i in 1 2 3; do echo "E: reason $i" >&2; done; echo "I: cleaning" >&2; printf "E: mmdebstrap failed to run" >&2; exit 25',
    );
    await assert.rejects(buildDebianTree(OPTIONS), (error) => {
      assert.ok(error instanceof ThimbleError);
      assert.equal(error.code, 'STORAGE');
      assert.match(
        error.message,
        /mmdebstrap ended with status 25: E: reason 2; E: reason 3; E: mmdebstrap failed to run$/,
      );
      assert.match(error.hint ?? '', /root/);
      return true;
    });
  });

  test('buildDebianTree() says how to install mmdebstrap where it is missing', async (t) => {
    fakePrograms(t, undefined);
    await assert.rejects(buildDebianTree(OPTIONS), (error) => {
      assert.ok(error instanceof ThimbleError);
      assert.equal(error.code, 'NOT_FOUND');
      assert.match(error.hint ?? '', /apt-get install mmdebstrap/);
      return true;
    });
  });

  test('SERVER_PACKAGES has what the boot image takes from the tree, each once', () => {
    for (const name of ['busybox-static', 'e2fsprogs', 'systemd-sysv'])
      assert.ok(SERVER_PACKAGES.includes(name), name);
    assert.equal(new Set(SERVER_PACKAGES).size, SERVER_PACKAGES.length);
  });
});
