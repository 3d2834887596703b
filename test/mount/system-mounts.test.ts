import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { CliRepository } from '../support/cli-repository.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { CONTRIB, runInstalled, type ScriptOutcome } from '../support/system-mount.ts';
import { thimble } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

interface Scene {
  readonly scratch: string;
  readonly mountpoint: string;
  run(script: string): Promise<ScriptOutcome>;
}

/** A machine where `test.example.org` is configured as CernVM-FS has it, and nothing is said on command lines. */
async function scene(t: TestContext): Promise<Scene> {
  const scratch = scratchFolder(t);
  const mountpoint = join(scratch, 'mount');
  makeTree(join(scratch, 'source'), dir({ hello: file('from the mount\n') }));
  const repository = await CliRepository.create(scratch);
  await repository.publish(join(scratch, 'source'));
  mkdirSync(mountpoint);
  mkdirSync(join(scratch, 'etc/config.d'), { recursive: true });
  writeFileSync(
    join(scratch, 'etc/default.conf'),
    `CVMFS_DEFAULT_DOMAIN=example.org\nCVMFS_CACHE_BASE=${scratch}/cache\nCVMFS_STRICT_MOUNT=yes\nCVMFS_REPOSITORIES=test\n`,
  );
  writeFileSync(
    join(scratch, 'etc/config.d/test.example.org.conf'),
    `CVMFS_SERVER_URL=file://${scratch}/cvmfs/@fqrn@\nCVMFS_PUBLIC_KEY=${repository.key}\n`,
  );
  const environment = { THIMBLE_CVMFS_CONFIG: join(scratch, 'etc'), THIMBLE_CONFIG: join(scratch, 'none') };
  return { scratch, mountpoint, run: (script) => runInstalled(scratch, script, environment) };
}

const lines = ({ output }: ScriptOutcome) => output.trimEnd().split('\n');

describe('mounts as a system makes them, with nothing but configuration', needs('fuse'), () => {
  test('mount -t fuse.thimble, its options, and umount', async (t) => {
    const { mountpoint, run } = await scene(t);
    const outcome = await run(`
cd ${mountpoint}/..
mount -t fuse.thimble test ${mountpoint} -o nodev,_netdev,x-systemd.automount,mount.suid && cat ${mountpoint}/hello
grep -o "${mountpoint} [a-z,]* .* fuse.thimble test.example.org" /proc/self/mountinfo | cut -d ' ' -f 2
mount -t fuse.thimble test ${mountpoint}; echo status $?
umount ${mountpoint} && ls ${mountpoint}
mount -t cvmfs test.example.org ${mountpoint} -o ro,noexec,fsname=cvmfs2 && cat ${mountpoint}/hello
grep -o "${mountpoint} [a-z,]* " /proc/self/mountinfo | cut -d ' ' -f 2`);
    const [hello, options, why, , status, again, others] = lines(outcome);
    assert.deepEqual(
      [hello, status, again],
      ['from the mount', 'status 9', 'from the mount'],
      outcome.output,
    );
    assert.deepEqual([options, others], ['ro,nodev,relatime', 'ro,nosuid,nodev,noexec,relatime']);
    assert.match(why ?? '', /Cannot mount on .*: test\.example\.org is mounted there/);
  });

  test('options that nobody knows, and repositories that may not be mounted, end mount(8) with a reason', async (t) => {
    const { mountpoint, run } = await scene(t);
    const outcome = await run(`
mount -t fuse.thimble test.example.org ${mountpoint} -o tagg=v1; echo status $?
mount -t fuse.thimble other.example.org ${mountpoint}; echo status $?
mount -f -t fuse.thimble other.example.org ${mountpoint}; echo status $?`);
    assert.match(outcome.output, /mount option "tagg"[\s\S]*did you mean "tag"\?\nstatus 2\n/);
    assert.match(outcome.output, /Cannot find repository other\.example\.org[\s\S]*\nstatus 3\nstatus 0\n$/);
  });

  test('a line in fstab', async (t) => {
    const { scratch, mountpoint, run } = await scene(t);
    writeFileSync(
      join(scratch, 'fstab'),
      `test.example.org ${mountpoint} fuse.thimble _netdev,nofail,x-systemd.requires=network-online.target,cache.limit=1G 0 0\n`,
    );
    const outcome = await run(`
mount -a -T ${scratch}/fstab; echo status $?
cat ${mountpoint}/hello
mount -a -T ${scratch}/fstab; echo status $?`);
    assert.deepEqual(lines(outcome), ['status 0', 'from the mount', 'status 0']);
  });

  test('two mounts at once on one folder: one wins, the other says so', async (t) => {
    const { mountpoint, run } = await scene(t);
    const outcome = await run(`
mount -t fuse.thimble test.example.org ${mountpoint} & first=$!
mount -t fuse.thimble test.example.org ${mountpoint} & second=$!
wait $first; one=$?
wait $second; echo statuses $one $?
cat ${mountpoint}/hello
grep -c " ${mountpoint} .* fuse.thimble " /proc/self/mountinfo`);
    assert.match(outcome.output, /statuses (0 9|9 0)\nfrom the mount\n1\n$/);
  });

  test('autofs mounts what is looked for, and nothing else', needs('autofs'), async (t) => {
    const { scratch, run } = await scene(t);
    const folder = join(scratch, 'auto');
    mkdirSync(folder);
    writeFileSync(join(scratch, 'auto.master'), `${folder} program:${CONTRIB}/autofs/auto.thimble\n`);
    const outcome = await run(`
setsid automount -f -p ${scratch}/automount.pid ${scratch}/auto.master & automounter=$!
until grep -q " ${folder} .* autofs " /proc/self/mountinfo; do sleep 0.1; done
cat ${folder}/test.example.org/hello
for name in .git nodot a..b other.example.org; do [ -e ${folder}/$name ] || echo no $name; done
grep -c " ${folder}/.* fuse.thimble " /proc/self/mountinfo
kill $automounter; wait $automounter; echo status $?`);
    const expected = [
      'from the mount',
      'no .git',
      'no nodot',
      'no a..b',
      'no other.example.org',
      '1',
      'status 0',
    ];
    assert.deepEqual(lines(outcome), expected);
  });
});

describe('files of contrib', () => {
  test('the map of autofs answers for names of repositories alone', () => {
    const ask = (name: string) =>
      spawnSync(join(CONTRIB, 'autofs/auto.thimble'), [name], { encoding: 'utf8' });
    for (const name of ['os.example.org', 'a-b_c.d', '1.2'])
      assert.equal(ask(name).stdout, `-fstype=fuse.thimble,nodev :${name}\n`);
    for (const name of ['', '.git', 'os', 'os.', 'a..b', 'a/b.c', 'a b.c', '$(id).x', '*.x', '-o.x', 'a.b,c'])
      assert.deepEqual([ask(name).status, ask(name).stdout], [1, ''], name);
  });

  test('the mount helper refuses what it does not know', () => {
    const run = (...args: string[]) =>
      spawnSync(join(CONTRIB, 'mount.fuse.thimble'), args, { encoding: 'utf8' });
    for (const [args, says] of [
      [['a.b'], /where is missing/],
      [['a.b', '/c', '/d'], /one folder too many: \/d/],
      [['a.b', '/c', '-o'], /nothing follows -o/],
      [['a.b', '/c', '-z'], /unknown option -z/],
    ] as const) {
      const { status, stderr } = run(...args);
      assert.equal(status, 2);
      assert.match(stderr, says);
    }
    assert.equal(run('a.b', '/c', '-f', '-t', 'fuse.thimble', '-o', 'rw').status, 0);
  });

  test('systemd understands the units', needs('systemd'), (t) => {
    const scratch = scratchFolder(t);
    const names = ['thimble@.service', 'cvmfs-os.example.org.mount', 'cvmfs-os.example.org.automount'];
    for (const name of names) {
      copyFileSync(join(CONTRIB, 'systemd', name), join(scratch, name));
      const text = readFileSync(join(scratch, name), 'utf8').replaceAll(
        '/usr/local/bin/thimble',
        '/bin/true',
      );
      writeFileSync(join(scratch, name), text);
    }
    copyFileSync(join(scratch, 'thimble@.service'), join(scratch, 'thimble@os.example.org.service'));
    for (const name of ['thimble@os.example.org.service', ...names.slice(1)]) {
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', join(scratch, name)], {
        encoding: 'utf8',
        env: { ...process.env, SYSTEMD_UNIT_PATH: `${scratch}:` },
      });
      const own = stderr.split('\n').filter((line) => names.some((one) => line.includes(one.slice(0, 12))));
      assert.deepEqual([status, own], [0, []], stderr);
    }
    const escaped = execFileSync('systemd-escape', ['--path', '--suffix=mount', '/cvmfs/os.example.org'], {
      encoding: 'utf8',
    });
    assert.equal(escaped.trim(), names[1]);
  });
});

describe('thimble config', () => {
  test('show tells each setting, where it came from, and what is missing', async (t) => {
    const { scratch } = await scene(t);
    const env = {
      THIMBLE_CVMFS_CONFIG: join(scratch, 'etc'),
      THIMBLE_CONFIG: join(scratch, 'none'),
      THIMBLE_CACHE_LIMIT: '1G',
    };
    const { stdout, status } = await thimble(['config', 'show', 'test'], { env });
    assert.equal(status, 0);
    assert.match(
      stdout,
      new RegExp(
        `^servers\\.addresses +file://${scratch}/cvmfs/test\\.example\\.org +${scratch}/etc/config\\.d/test\\.example\\.org\\.conf:1 +CVMFS_SERVER_URL$`,
        'm',
      ),
    );
    assert.match(stdout, /^cache\.limit +1073741824 +THIMBLE_CACHE_LIMIT +CVMFS_QUOTA_LIMIT$/m);
    const other = JSON.parse(
      (await thimble(['config', 'show', 'other.example.org', '--all', '--json'], { env })).stdout,
    );
    assert.equal(other.fqrn, 'other.example.org');
    assert.match(other.findings[0].message, /no server for other\.example\.org: set CVMFS_SERVER_URL/);
    assert.match(other.findings[1].message, /no public key of other\.example\.org/);
    assert.equal(
      other.settings.find(({ name }: { name: string }) => name === 'updates.follow').environment,
      'THIMBLE_UPDATES_FOLLOW',
    );
  });

  test('check finds what is wrong in any file, and ends with 7 then', async (t) => {
    const { scratch } = await scene(t);
    const env = { THIMBLE_CVMFS_CONFIG: join(scratch, 'etc'), THIMBLE_CONFIG: join(scratch, 'own') };
    const good = await thimble(['config', 'check'], { env });
    assert.deepEqual([good.status, good.stdout], [0, '2 files, nothing wrong\n']);
    mkdirSync(join(scratch, 'own'));
    writeFileSync(join(scratch, 'own/client.yaml'), 'cache:\n  limits: 1G\n');
    writeFileSync(join(scratch, 'etc/config.d/bad.example.org.conf'), 'for x in y; do :; done\n');
    const bad = await thimble(['config', 'check'], { env });
    assert.equal(bad.status, 7);
    assert.match(
      bad.stdout,
      /client\.yaml line 2: there is no setting "cache\.limits" \(did you mean "limit"\?\)/,
    );
    assert.match(bad.stdout, /bad\.example\.org\.conf line 1: "for" is not understood/);
    assert.match(bad.stdout, /^4 files, 2 findings$/m);
  });
});
