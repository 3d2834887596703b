import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ThimbleError } from '../core/errors.ts';
import { BOOT_MODULES, newestKernel, selectModules, uncompressedName } from './kernel-modules.ts';

const DEP = [
  'kernel/drivers/virtio/virtio.ko.xz:',
  'kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz',
  'kernel/drivers/net/net_failover.ko.zst: kernel/net/core/failover.ko.gz',
  'kernel/net/core/failover.ko.gz:',
  'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko.zst kernel/net/core/failover.ko.gz kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz',
  'kernel/fs/overlayfs/overlay.ko:',
  'kernel/drivers/scsi/vmw_pvscsi.ko:',
  'kernel/drivers/sound/snd-hda.ko: kernel/drivers/virtio/virtio.ko.xz',
  '',
].join('\n');

const ALIAS = [
  '# Aliases extracted from modules themselves.',
  'alias virtio:d00000001v* virtio_net',
  'alias pci:v000015ADd000007C0sv*sd*bc*sc*i* vmw_pvscsi',
  'alias fs-overlay overlay',
  'alias pci:v00008086* snd_hda',
  '',
].join('\n');

describe('selectModules()', () => {
  test('selectModules() takes the wanted modules with all they depend on, and no others', () => {
    const { paths } = selectModules(DEP, ALIAS, ['virtio_net']);
    assert.deepEqual(paths, [
      'kernel/drivers/net/net_failover.ko.zst',
      'kernel/drivers/net/virtio_net.ko',
      'kernel/drivers/virtio/virtio.ko.xz',
      'kernel/drivers/virtio/virtio_ring.ko.xz',
      'kernel/net/core/failover.ko.gz',
    ]);
  });

  test('selectModules() keeps the order of dependencies, which is the order of loading', () => {
    const { dependencies } = selectModules(DEP, ALIAS, ['virtio_net']);
    const line = dependencies.split('\n').find((text) => text.startsWith('kernel/drivers/net/virtio_net'));
    assert.equal(
      line,
      'kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko',
    );
  });

  test('selectModules() writes a modules.dep with the names of unpacked files', () => {
    assert.equal(
      selectModules(DEP, ALIAS, ['net_failover', 'overlay']).dependencies,
      [
        'kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko\n',
        'kernel/fs/overlayfs/overlay.ko:\n',
        'kernel/net/core/failover.ko:\n',
      ].join(''),
    );
  });

  test('selectModules() writes the aliases of the chosen modules alone', () => {
    assert.equal(
      selectModules(DEP, ALIAS, ['overlay', 'virtio_net']).aliases,
      'alias virtio:d00000001v* virtio_net\nalias fs-overlay overlay\n',
    );
  });

  test('selectModules() takes - and _ in names for the same', () => {
    assert.deepEqual(selectModules(DEP, ALIAS, ['vmw-pvscsi']).paths, ['kernel/drivers/scsi/vmw_pvscsi.ko']);
    const hda = selectModules(DEP, ALIAS, ['snd_hda']);
    assert.ok(hda.paths.includes('kernel/drivers/sound/snd-hda.ko'));
    assert.equal(hda.aliases, 'alias pci:v00008086* snd_hda\n');
  });

  test('selectModules() passes over modules that are not there', () => {
    assert.deepEqual(selectModules(DEP, ALIAS, ['nvme']), { paths: [], dependencies: '', aliases: '' });
  });

  test('selectModules() gives the same for any order of wishes', () => {
    assert.deepEqual(
      selectModules(DEP, ALIAS, [...BOOT_MODULES].reverse()),
      selectModules(DEP, ALIAS, BOOT_MODULES),
    );
  });

  test('selectModules() comes to an end when modules need each other', () => {
    const { paths } = selectModules('a.ko: b.ko\nb.ko: a.ko\n', '', ['a']);
    assert.deepEqual(paths, ['a.ko', 'b.ko']);
  });

  test('BOOT_MODULES has the modules that every machine of QEMU needs, each once', () => {
    for (const name of ['overlay', 'virtio_pci', 'virtio_blk', 'virtio_net', 'ahci', 'nvme']) {
      assert.ok(BOOT_MODULES.includes(name), name);
    }
    assert.equal(new Set(BOOT_MODULES).size, BOOT_MODULES.length);
  });
});

describe('uncompressedName()', () => {
  for (const suffix of ['', '.xz', '.zst', '.gz']) {
    test(`uncompressedName() cuts ${suffix === '' ? 'nothing' : suffix} off`, () => {
      assert.equal(uncompressedName(`kernel/fs/a.xz.b.ko${suffix}`), 'kernel/fs/a.xz.b.ko');
    });
  }
});

describe('newestKernel()', () => {
  const cases: readonly [names: readonly string[], newest: string][] = [
    [['vmlinuz-6.1.0-9-cloud-amd64'], '6.1.0-9-cloud-amd64'],
    [['vmlinuz-6.1.0-9-amd64', 'vmlinuz-6.1.0-31-amd64'], '6.1.0-31-amd64'],
    [['vmlinuz-6.12.9', 'vmlinuz-6.2.40', 'config-7.0.0', 'initrd.img-8.0'], '6.12.9'],
  ];
  for (const [names, newest] of cases) {
    test(`newestKernel() finds ${newest} among ${names.join(', ')}`, () => {
      assert.equal(newestKernel(names), newest);
      assert.equal(newestKernel([...names].reverse()), newest);
    });
  }

  test('newestKernel() says what to install where there is no kernel', () => {
    assert.throws(
      () => newestKernel(['config-6.1.0', 'vmlinuz']),
      (error) =>
        error instanceof ThimbleError &&
        error.code === 'NOT_FOUND' &&
        /linux-image-cloud-amd64/.test(error.hint ?? ''),
    );
  });
});
