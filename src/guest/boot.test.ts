import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type FakeSystem, machine, OK, settingsWith } from '../../test/support/fake-system.ts';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import { explainFailure, type RootRequest } from './boot.ts';
import { BLANK_MARKER } from './scratch-disk.ts';
import type { GuestSettings } from './settings.ts';

const LEASE_TEXT = 'interface=eth0\nip=10.0.2.15\nrouter=10.0.2.2\ndns=10.0.2.3\ndomain=example.org\n';
const LEASE = {
  interface: 'eth0',
  address: '10.0.2.15',
  routers: ['10.0.2.2'],
  nameServers: ['10.0.2.3'],
  domain: 'example.org',
};
const SCRATCH = { cacheFolder: '/rw/cache', cacheLimitBytes: 1, onDisk: false };

const failsWith =
  (code: ErrorCode, message: RegExp, hint = /^/) =>
  (error: unknown) => {
    assert.ok(error instanceof ThimbleError, `not one of our errors: ${error}`);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.match(explainFailure(error).slice(1).join('\n'), hint);
    return true;
  };

describe('Boot.settings()', () => {
  const oem = (text: string) => `\x0b\x05\x00\x0b\x01${text}\0\0`;

  test('Boot.settings() merges image, machine and command line', () => {
    const { boot } = machine(({ files }) => {
      files.set('/sys/firmware/dmi/entries/11-0/raw', oem('thimble.tag=of-machine'));
      files.set('/sys/firmware/dmi/entries/11-1/raw', oem('thimble.nodisk'));
      files.set('/sys/firmware/dmi/entries/1-0/raw', oem('thimble.rescue'));
      files.set('/proc/cmdline', 'quiet thimble.repo=other.example.org\n');
    });
    const { fqrn, servers, tag, withoutDisk, rescue } = boot.settings();
    assert.deepEqual(
      { fqrn, servers, tag, withoutDisk, rescue },
      {
        fqrn: 'other.example.org',
        servers: ['http://server/cvmfs/other.example.org'],
        tag: 'of-machine',
        withoutDisk: true,
        rescue: false,
      },
    );
  });

  test('Boot.settings() does without command line and SMBIOS', () => {
    const { boot } = machine(({ files }) => files.delete('/proc/cmdline'));
    assert.equal(boot.settings().fqrn, 'os.example.org');
  });

  const failures: readonly [
    what: string,
    change: (system: FakeSystem) => void,
    code: ErrorCode,
    message: RegExp,
  ][] = [
    [
      'an image without settings',
      ({ files }) => files.delete('/etc/thimble.json'),
      'FORMAT',
      /no \/etc\/thimble\.json/,
    ],
    [
      'an image with damaged settings',
      ({ files }) => files.set('/etc/thimble.json', '{'),
      'FORMAT',
      /settings of the image/,
    ],
    [
      'a misspelt setting',
      ({ files }) => files.set('/proc/cmdline', 'thimble.tags=1'),
      'USAGE',
      /thimble\.tags/,
    ],
  ];
  for (const [what, change, code, message] of failures) {
    test(`Boot.settings() refuses ${what} with ${code}`, () => {
      const { boot } = machine(change);
      assert.throws(() => boot.settings(), failsWith(code, message));
    });
  }
});

describe('Boot.loadModules()', () => {
  test('Boot.loadModules() says which program failed, and how', () => {
    const { boot } = machine((system) => {
      system.answer = () => ({ status: 1, output: 'modprobe: overlay not found\n' });
    });
    assert.throws(
      () => boot.loadModules(),
      failsWith(
        'STORAGE',
        /Cannot load kernel modules: .*load-modules ended with status 1: modprobe: overlay not found$/,
      ),
    );
  });
});

describe('Boot.network()', () => {
  /** DHCP answers on some interfaces, each from its n-th try on. */
  const dhcp = (system: FakeSystem, firstTry: Readonly<Record<string, number>>) => {
    const tries = new Map<string, number>();
    system.answer = (command) => {
      const name = /^busybox udhcpc -i (\S+)/.exec(command)?.[1];
      if (name === undefined) return undefined;
      tries.set(name, (tries.get(name) ?? 0) + 1);
      if (tries.get(name)! < (firstTry[name] ?? Number.POSITIVE_INFINITY)) return { status: 1, output: '' };
      system.files.set(`/var/leases/${name}`, LEASE_TEXT.replace('eth0', name));
      return OK;
    };
  };
  const addCard = ({ files }: FakeSystem, name: string) =>
    files.set(`/sys/class/net/${name}/type`, '1\n').set(`/sys/class/net/${name}/device`, '');

  test('Boot.network() takes what DHCP answers, and passes the names on', async () => {
    const { boot, system } = machine((fake) => dhcp(fake, { eth0: 1 }));
    assert.deepEqual(await boot.network(), LEASE);
    assert.equal(system.written.get('/etc/resolv.conf'), 'search example.org\nnameserver 10.0.2.3\n');
    assert.deepEqual(system.said, ['thimble: network eth0 10.0.2.15 (1.0 s)']);
  });

  test('Boot.network() tries again when no answer comes', async () => {
    const { boot, system } = machine((fake) => dhcp(fake, { eth0: 3 }));
    assert.equal((await boot.network()).address, '10.0.2.15');
    assert.equal(system.ran.length, 3);
  });

  test('Boot.network() takes the card that gets an answer', async () => {
    const { boot } = machine((system) => {
      addCard(system, 'eth1');
      dhcp(system, { eth1: 2 });
    });
    assert.equal((await boot.network()).interface, 'eth1');
  });

  test('Boot.network() waits for a card that comes late', async () => {
    const { boot } = machine((system) => {
      for (const file of [...system.files.keys()]) if (file.includes('/eth0/')) system.files.delete(file);
      system.onSleep = () => {
        if (system.nowMs >= 500) addCard(system, 'eth0');
      };
      dhcp(system, { eth0: 1 });
    });
    assert.equal((await boot.network()).interface, 'eth0');
  });

  test('Boot.network() asks on Ethernet cards alone', async () => {
    const { boot, system } = machine((fake) => {
      fake.files.set('/sys/class/net/br0/type', '1\n'); // a bridge: no device
      fake.files.set('/sys/class/net/wwan0/type', '65534\n').set('/sys/class/net/wwan0/device', '');
      dhcp(fake, { eth0: 1 });
    });
    await boot.network();
    assert.deepEqual(
      system.ran.map((command) => command.split(' ')[3]),
      ['eth0'],
    );
  });

  test('Boot.network() says which cards there are drivers for when there is none', async () => {
    const { boot } = machine(({ files }) => files.delete('/sys/class/net/eth0/device'));
    await assert.rejects(boot.network(), failsWith('NETWORK', /no network card/, /virtio/));
  });

  test('Boot.network() gives up after a minute without an answer, and names the cards', async () => {
    const { boot, system } = machine((fake) => {
      addCard(fake, 'eth1');
      dhcp(fake, {});
    });
    await assert.rejects(
      boot.network(),
      failsWith('NETWORK', /no DHCP server answers on eth0, eth1/, /check the network/),
    );
    assert.ok(system.nowMs >= 60_000 && system.nowMs < 65_000, String(system.nowMs));
  });

  test('Boot.network() takes no lease that makes no sense', async () => {
    const { boot } = machine(({ files }) => files.set('/var/leases/eth0', 'interface=eth0\nip=\n'));
    await assert.rejects(boot.network(), failsWith('NETWORK', /no DHCP server/));
  });
});

describe('Boot.prepareScratch()', () => {
  const FORMAT = 'mke2fs -q -F -t ext4 -L THIMBLE /dev/vdb';
  const CHECK = 'e2fsck -p /dev/vdb';
  const MOUNT = 'busybox mount -t ext4 -o noatime /dev/vdb /rw';
  const MEMORY = 'busybox mount -t tmpfs -o mode=0755,size=50% scratch /rw';
  const STAT = 'busybox stat -f -c %a %S /rw';
  const SCRATCH_DISK = `${'\0'.repeat(1080)}\x53\xef${'\0'.repeat(62)}THIMBLE`;
  const space = (command: string) => (command === STAT ? { status: 0, output: '1000000 4096\n' } : undefined);

  const cases: readonly [
    what: string,
    change: (system: FakeSystem) => void,
    settings: Partial<GuestSettings>,
    ran: readonly string[],
  ][] = [
    ['takes memory where there is no disk', () => {}, {}, [MEMORY]],
    ['formats a marked disk', (system) => system.addDisk('vdb', BLANK_MARKER), {}, [FORMAT, MOUNT, STAT]],
    [
      'checks and uses a disk of ours',
      (system) => system.addDisk('vdb', SCRATCH_DISK),
      {},
      [CHECK, MOUNT, STAT],
    ],
    ['leaves a foreign disk alone', (system) => system.addDisk('vdb', 'XFSB'), {}, [MEMORY]],
    [
      'formats a foreign disk that is named',
      (system) => system.addDisk('vda', 'XFSB').addDisk('vdb', 'XFSB'),
      { formatDevice: '/dev/vdb' },
      [FORMAT, MOUNT, STAT],
    ],
    ['leaves a read-only disk alone', (system) => system.addDisk('vdb', BLANK_MARKER, '1\n'), {}, [MEMORY]],
    [
      'leaves a disk alone that may be read-only',
      (system) => system.addDisk('vdb', BLANK_MARKER).files.delete('/sys/class/block/vdb/ro'),
      {},
      [MEMORY],
    ],
    [
      'leaves a marked memory disk alone',
      (system) =>
        system.addDisk('ram0', BLANK_MARKER).addDisk('loop0', BLANK_MARKER).addDisk('sr0', BLANK_MARKER),
      {},
      [MEMORY],
    ],
    [
      'uses no disk if it must not',
      (system) => system.addDisk('vdb', SCRATCH_DISK),
      { withoutDisk: true },
      [MEMORY],
    ],
    [
      'formats no disk if it must use none',
      (system) => system.addDisk('vdb', BLANK_MARKER),
      { withoutDisk: true, formatDevice: '/dev/vdb' },
      [MEMORY],
    ],
  ];
  for (const [what, change, settings, ran] of cases) {
    test(`Boot.prepareScratch() ${what}`, () => {
      const { boot, system } = machine((fake) => {
        change(fake);
        fake.answer = space;
      });
      const scratch = boot.prepareScratch(settingsWith(settings));
      assert.deepEqual(system.ran, ran);
      assert.deepEqual(
        scratch,
        ran.includes(MEMORY)
          ? { cacheFolder: '/rw/cache', cacheLimitBytes: (512 * 1024 * 1024) / 8, onDisk: false }
          : { cacheFolder: '/rw/cache', cacheLimitBytes: (1_000_000 * 4096) / 2, onDisk: true },
      );
    });
  }

  for (const [why, settings] of [
    ['it is marked as blank', {}],
    ['named by thimble.format', { formatDevice: 'vdb' }],
  ] as const) {
    test(`Boot.prepareScratch() says before it formats that ${why}`, () => {
      const { boot, system } = machine((fake) => fake.addDisk('vdb', BLANK_MARKER));
      boot.prepareScratch(settingsWith(settings));
      assert.equal(system.said[0], `thimble: formatting /dev/vdb (${why}) (0.0 s)`);
    });
  }

  test('Boot.prepareScratch() goes on with a disk that could be mended', () => {
    const { boot } = machine((system) => {
      system.addDisk('vdb', SCRATCH_DISK);
      system.answer = (command) => (command === CHECK ? { status: 1, output: 'mended' } : space(command));
    });
    assert.ok(boot.prepareScratch(settingsWith()).onDisk);
  });

  test('Boot.prepareScratch() counts on a little space where it cannot be told', () => {
    const { boot } = machine((system) => system.addDisk('vdb', SCRATCH_DISK));
    assert.equal(boot.prepareScratch(settingsWith()).cacheLimitBytes, 32 * 1024 * 1024);
  });

  const failures: readonly [
    command: string,
    start: string | undefined,
    status: number,
    message: RegExp,
    hint: RegExp,
  ][] = [
    [MEMORY, undefined, 1, /Cannot mount memory: .*ended with status 1: boom$/, /^$/],
    [FORMAT, BLANK_MARKER, 1, /Cannot format \/dev\/vdb: .*mke2fs.*boom$/, /^$/],
    [CHECK, SCRATCH_DISK, 4, /Cannot use scratch disk \/dev\/vdb: boom/, /thimble\.nodisk/],
    [MOUNT, SCRATCH_DISK, 32, /Cannot mount \/dev\/vdb: .*boom$/, /^$/],
  ];
  for (const [failing, start, status, message, hint] of failures) {
    test(`Boot.prepareScratch() says what failed when ${failing.split(' ').slice(0, 4).join(' ')} does`, () => {
      const { boot, system } = machine((fake) => {
        if (start !== undefined) fake.addDisk('vdb', start);
        fake.answer = (command) => (command === failing ? { status, output: 'boom' } : undefined);
      });
      assert.throws(() => boot.prepareScratch(settingsWith()), failsWith('STORAGE', message, hint));
      assert.equal(system.ran.at(-1), failing);
    });
  }

  test('Boot.prepareScratch() refuses to format a disk that is not there, and touches none', () => {
    const { boot, system } = machine((fake) => fake.addDisk('vdb', BLANK_MARKER));
    assert.throws(
      () => boot.prepareScratch(settingsWith({ formatDevice: '/dev/vdc' })),
      failsWith('USAGE', /no such disk/, /the disks of this machine are vdb/),
    );
    assert.deepEqual(system.ran, []);
  });
});

describe('Boot.mountRoot()', () => {
  const root = { rootHash: 'abc', description: 'os.example.org, revision 7' };

  test('Boot.mountRoot() hands over what the file system needs, and lays a layer of its own over it', async () => {
    const { boot, system } = machine(({ files }) =>
      files.set('/etc/keys/1.pub', '').set('/etc/keys/2.pub', ''),
    );
    const requests: RootRequest[] = [];
    const settings = settingsWith();
    const answer = await boot.mountRoot(settings, SCRATCH, async (request) => {
      requests.push(request);
      return root;
    });
    assert.equal(answer, root);
    assert.deepEqual(requests, [
      { settings, scratch: SCRATCH, keyFiles: ['/etc/keys/1.pub', '/etc/keys/2.pub'], mountpoint: '/ro' },
    ]);
    assert.deepEqual(system.made, ['/rw/layers/abc/upper', '/rw/layers/abc/work']);
    assert.deepEqual(system.ran, [
      'busybox mount -t overlay -o lowerdir=/ro,upperdir=/rw/layers/abc/upper,workdir=/rw/layers/abc/work,index=off,metacopy=off,redirect_dir=off root /newroot',
    ]);
    assert.deepEqual(system.said, ['thimble: root file system os.example.org, revision 7 (0.0 s)']);
  });

  test('Boot.mountRoot() makes no layer when the file system cannot be mounted', async () => {
    const { boot, system } = machine();
    const failure = new ThimbleError('TRUST', 'Cannot trust os.example.org', { hint: 'check the keys' });
    await assert.rejects(
      boot.mountRoot(settingsWith(), SCRATCH, () => Promise.reject(failure)),
      failsWith('TRUST', /Cannot trust/, /check the keys/),
    );
    assert.deepEqual([system.made, system.ran], [[], []]);
  });

  test('Boot.mountRoot() says what failed when the layer cannot be mounted', async () => {
    const { boot } = machine((system) => {
      system.answer = () => ({ status: 255, output: 'mount: Invalid argument' });
    });
    await assert.rejects(
      boot.mountRoot(settingsWith(), SCRATCH, async () => root),
      failsWith('STORAGE', /Cannot mount the writable layer: .*Invalid argument$/),
    );
  });
});

describe('Boot.handOver()', () => {
  const UNIT = '/handover/systemd/network/10-thimble-boot.network';

  test('Boot.handOver() leaves a unit for the interface that the tree arrives by', () => {
    const { boot, system } = machine();
    boot.handOver(LEASE);
    assert.deepEqual([...system.written.keys()], [UNIT]);
    assert.match(system.written.get(UNIT)!, /^MACAddress=52:54:00:12:34:56$/m);
  });

  for (const [what, address] of [
    ['no address', undefined],
    ['an address of another kind', '80:00:02:08:fe:80:00:00:00:00\n'],
  ] as const) {
    test(`Boot.handOver() leaves no unit for an interface with ${what}`, () => {
      const { boot, system } = machine(({ files }) => {
        files.delete('/sys/class/net/eth0/address');
        if (address !== undefined) files.set('/sys/class/net/eth0/address', address);
      });
      boot.handOver(LEASE);
      assert.equal(system.written.size, 0);
    });
  }

  test('Boot.handOver() never looks into the tree, which its own process serves', () => {
    const { boot, system } = machine();
    const touched: string[] = [];
    const note = (path: string) => void touched.push(path);
    for (const method of ['readText', 'readStart', 'writeText', 'list', 'makeDirectory', 'exists'] as const) {
      const original = system[method].bind(system) as (...args: unknown[]) => unknown;
      Object.assign(system, {
        [method]: (path: string, ...more: unknown[]) => {
          note(path);
          return original(path, ...more);
        },
      });
    }
    boot.handOver(LEASE);
    assert.ok(touched.length > 0);
    assert.deepEqual(
      touched.filter((path) => /^\/(newroot|ro)(\/|$)/.test(path)),
      [],
    );
  });
});

describe('explainFailure()', () => {
  test('explainFailure() says what failed, why, and what to do', () => {
    const error = new ThimbleError('NETWORK', 'Cannot boot', {
      hint: 'plug it in',
      cause: new Error('no carrier'),
    });
    assert.deepEqual(explainFailure(error), ['thimble: Cannot boot: no carrier', 'hint: plug it in']);
  });

  for (const [what, thrown, first] of [
    ['an error of somebody else', new TypeError('x is undefined'), 'thimble: x is undefined'],
    ['what is no error at all', 'odd', 'thimble: odd'],
  ] as const) {
    test(`explainFailure() has a line for ${what}`, () => {
      assert.deepEqual(explainFailure(thrown), [first]);
    });
  }
});
