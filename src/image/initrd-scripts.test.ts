import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, type Literal, makeTree, symlink } from '../../test/support/trees.ts';
import { parseLease } from '../guest/network.ts';
import { DHCP_SCRIPT, INIT_SCRIPT, MODULES_SCRIPT, SHUTDOWN_SCRIPT } from './initrd-scripts.ts';

const BUSYBOX = '/usr/bin/busybox';
const SCRIPTS = {
  'the first program': INIT_SCRIPT,
  'the last program': SHUTDOWN_SCRIPT,
  'the loader of drivers': MODULES_SCRIPT,
  'the script of the DHCP client': DHCP_SCRIPT,
};

describe('scripts of the initrd', () => {
  const shells = [['/bin/sh'], [BUSYBOX, 'sh']].filter(([program]) => existsSync(program!));
  for (const [name, script] of Object.entries(SCRIPTS)) {
    for (const [program, ...args] of shells) {
      test(`${name} is understood by ${[program, ...args].join(' ')}`, () => {
        const { status, stderr } = spawnSync(program!, [...args, '-n'], { input: script, encoding: 'utf8' });
        assert.deepEqual([status, stderr], [0, '']);
      });
    }

    test(`${name} runs nothing but busybox and what the shell has`, () => {
      assert.match(script, /^#!(\/initramfs)?\/bin\/busybox sh\n/);
      const programs =
        /(?:^|[;|&{(]|\b(?:then|do|else|exec)\b)\s*(?:modprobe|mount|umount|ip|cp|mkdir|sleep|cat|grep|sed|sort|chroot)\s/m;
      assert.doesNotMatch(script.replace(/^#.*$/gm, ''), programs);
    });
  }
});

interface DryRun {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Calls that fail, as a pattern of the shell. */
  readonly fails?: string;
  /** Takes the place of absolute paths in the script. */
  readonly paths?: Readonly<Record<string, string>>;
}

/** Runs a script with `$B` replaced by a program that writes down its arguments, and with no other program to be found. */
function dryRun(
  t: TestContext,
  script: string,
  { args = [], env = {}, fails = '-', paths = {} }: DryRun = {},
) {
  const folder = scratchFolder(t);
  const stub = join(folder, 'busybox');
  writeFileSync(stub, `#!/bin/sh\necho "$*" >>${folder}/calls\ncase "$*" in ${fails}) exit 1 ;; esac\n`, {
    mode: 0o755,
  });
  writeFileSync(join(folder, 'calls'), '');
  let local = script.replace(/^B=.*$/m, `B=${stub}`);
  assert.ok(local.includes(`B=${stub}\n`));
  for (const [path, instead] of Object.entries(paths)) local = local.replaceAll(path, instead);
  const { status, stdout } = spawnSync('/bin/sh', ['-s', ...args], {
    input: local,
    env: { ...env, PATH: folder },
    encoding: 'utf8',
  });
  const calls = readFileSync(join(folder, 'calls'), 'utf8')
    .replaceAll(stub, 'busybox')
    .split('\n')
    .slice(0, -1);
  return { calls, status, stdout };
}

const NO_LEASES = { '/var/leases/$interface': '/dev/null' };

describe('the script of the DHCP client', () => {
  const lease = {
    interface: 'eth0',
    ip: '10.0.2.15',
    mask: '20',
    mtu: '1400',
    router: '10.0.2.2 10.0.2.3',
    dns: '10.0.2.3 1.1.1.1',
    domain: 'example.org',
  };

  test('the script of the DHCP client raises the interface before there is an address', (t) => {
    const { calls } = dryRun(t, DHCP_SCRIPT, { args: ['deconfig'], env: lease });
    assert.deepEqual(calls, ['ip link set eth0 up']);
  });

  test('the script of the DHCP client configures the interface, with the first router alone', (t) => {
    const { calls } = dryRun(t, DHCP_SCRIPT, { args: ['bound'], env: lease, paths: NO_LEASES });
    assert.deepEqual(calls, [
      'ip addr flush dev eth0',
      'ip addr add 10.0.2.15/20 dev eth0',
      'ip link set eth0 mtu 1400',
      'ip route add default via 10.0.2.2 dev eth0',
    ]);
  });

  test('the script of the DHCP client makes a route to a router outside of the network', (t) => {
    const { calls } = dryRun(t, DHCP_SCRIPT, {
      args: ['bound'],
      env: { ...lease, mask: '', mtu: '' },
      fails: '"ip route add default "*',
      paths: NO_LEASES,
    });
    assert.deepEqual(calls.slice(1), [
      'ip addr add 10.0.2.15/24 dev eth0',
      'ip route add default via 10.0.2.2 dev eth0',
      'ip route add 10.0.2.2 dev eth0',
      'ip route add default via 10.0.2.2 dev eth0',
    ]);
  });

  test('the script of the DHCP client writes a lease that parseLease() understands', (t) => {
    const leases = scratchFolder(t);
    dryRun(t, DHCP_SCRIPT, { args: ['renew'], env: lease, paths: { '/var/leases': leases } });
    assert.deepEqual(parseLease(readFileSync(join(leases, 'eth0'), 'utf8')), {
      interface: 'eth0',
      address: '10.0.2.15',
      routers: ['10.0.2.2', '10.0.2.3'],
      nameServers: ['10.0.2.3', '1.1.1.1'],
      domain: 'example.org',
    });
  });

  test('the script of the DHCP client does nothing when the server refuses', (t) => {
    assert.deepEqual(dryRun(t, DHCP_SCRIPT, { args: ['nak'], env: lease }).calls, []);
  });
});

describe('the loader of drivers', () => {
  test('the loader of drivers fails when the kernel has no overlay file system', (t) => {
    assert.equal(dryRun(t, MODULES_SCRIPT, { fails: '"modprobe overlay"' }).status, 1);
  });

  test('the loader of drivers goes on when a device has none', (t) => {
    const { calls, status } = dryRun(t, MODULES_SCRIPT, { fails: 'xargs*' });
    assert.equal(status, 0);
    assert.equal(calls.at(-1), 'ip link set lo up');
    assert.equal(calls.filter((call) => call.startsWith('xargs')).length, 2);
  });
});

describe('the first program', () => {
  /** The script from the verdict on, with all that it looks at in a folder. */
  function afterVerdict(t: TestContext, verdict: string, commandLine = 'quiet', tree: Literal = TREE) {
    const folder = scratchFolder(t);
    makeTree(folder, dir({ initramfs: dir({ newroot: tree, verdict: file(`${verdict}\n`) }) }));
    const line = join(folder, 'cmdline');
    writeFileSync(line, `${commandLine}\n`);
    const fromVerdict = INIT_SCRIPT.slice(INIT_SCRIPT.indexOf('read -r verdict'));
    const script = `B=\n${fromVerdict}`;
    const run = dryRun(t, script, {
      paths: {
        '$B cat /proc/cmdline': `/bin/cat ${line}`,
        '/initramfs': join(folder, 'initramfs'),
        // Where the script would go on as init, it must not get anywhere.
        'cd /newroot': `cd ${folder}`,
        '/dev/console': '/dev/null',
      },
    });
    return { ...run, calls: run.calls.map((call) => call.replaceAll(folder, '')) };
  }

  const TREE = dir({ sbin: dir({ init: symlink('/lib/systemd/systemd') }), etc: dir({}) });
  const RESTART = ['sleep 30', 'sync', 'reboot -f'];
  const RESCUE = ['setsid busybox cttyhack busybox sh', 'sync', 'reboot -f'];
  const INTO_TREE = 'cp /initramfs/etc/resolv.conf /initramfs/newroot/etc/resolv.conf';
  const START = 'chroot . /sbin/init';

  for (const [line, rescue] of [
    ['thimble.rescue', true],
    ['quiet thimble.rescue console=ttyS0', true],
    ['quiet thimble.rescue=1', true],
    ['quiet', false],
    ['quiet thimble.rescues', false],
    ['quiet xthimble.rescue', false],
    ['', false],
  ] as const) {
    for (const verdict of ['failed', '']) {
      const what = verdict === '' ? 'a boot without a verdict' : 'a failed boot';
      test(`the first program ${rescue ? 'opens a shell' : 'restarts'} after ${what} with "${line}"`, (t) => {
        assert.deepEqual(afterVerdict(t, verdict, line).calls, rescue ? RESCUE : RESTART);
      });
    }
  }

  test('the first program opens a shell when the settings of the machine ask for one', (t) => {
    assert.deepEqual(afterVerdict(t, 'thimble.rescue').calls, RESCUE);
  });

  test('the first program hands the tree over to its init', (t) => {
    const { calls } = afterVerdict(t, 'ready');
    assert.equal(calls[0], INTO_TREE);
    assert.equal(calls.at(-1), START);
    const moved = calls.flatMap((call) => /^mount --move (\S+)/.exec(call)?.[1] ?? []);
    assert.deepEqual(moved, ['/initramfs/newroot', '/initramfs', '/proc', '/sys', '/dev', '.']);
  });

  for (const [what, entry] of [
    ['file', file('nameserver 192.0.2.1\n')],
    ['dangling link', symlink('../run/systemd/resolve/stub-resolv.conf')],
  ] as const) {
    test(`the first program leaves alone a resolv.conf of the tree that is a ${what}`, (t) => {
      const tree = dir({ sbin: dir({ init: file('') }), etc: dir({ 'resolv.conf': entry }) });
      const { calls } = afterVerdict(t, 'ready', 'quiet', tree);
      assert.ok(!calls.includes(INTO_TREE));
      assert.equal(calls.at(-1), START);
    });
  }

  test('the first program finds an init behind a link to the root of the tree', (t) => {
    const tree = dir({
      sbin: symlink('/nowhere'),
      usr: dir({ sbin: dir({ init: file('') }) }),
      etc: dir({}),
    });
    assert.equal(afterVerdict(t, 'ready', 'quiet', tree).calls.at(-1), START);
  });

  test('the first program says so when the tree has no init, instead of becoming nothing', (t) => {
    const { calls, stdout } = afterVerdict(t, 'ready', 'quiet', dir({ etc: dir({}) }));
    assert.deepEqual(calls, RESTART);
    assert.match(stdout, /the tree has no \/sbin\/init\nhint: .*systemd-sysv/);
  });
});
