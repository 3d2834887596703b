import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { gzipSync, zstdDecompressSync } from 'node:zlib';
import { CliRepository } from '../../test/support/cli-repository.ts';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, type Literal, makeTree, symlink } from '../../test/support/trees.ts';
import { CpioWriter } from '../archive/cpio.ts';
import { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { silentLog } from '../core/ports.ts';
import { nodeHashing } from '../node/hashing.ts';
import { openRepository } from '../node/repository-access.ts';
import { buildIso, type ImageOptions } from './build-image.ts';
import { elfNeeds } from './elf.ts';
import { guestRuntime } from './runtime.ts';

const MTIME_SECONDS = 1_700_000_000;
const KERNEL = Buffer.alloc(20_000, 'kernel');
/** Stands for the engine, which would take a minute to compress. */
const ENGINE = Buffer.from('compressed engine');
const MODULES = '6.12.9-cloud';

/** A tree with what an image is made from: one kernel too old, programs, libraries, one module. */
function treeOf(engine: Uint8Array): Literal {
  const { interpreter, libraries } = elfNeeds(engine);
  const loader = interpreter!.split('/').slice(1) as [string, string];
  return dir(
    {
      boot: dir({ [`vmlinuz-${MODULES}`]: file(KERNEL), 'vmlinuz-6.2.0-cloud': file('old') }),
      [loader[0]]: dir({ [loader[1]]: file('loader') }),
      usr: dir({
        bin: dir({ busybox: file('busybox') }),
        sbin: dir({ mke2fs: file('mke2fs'), e2fsck: symlink('fsck'), fsck: file('e2fsck') }),
        lib: dir({
          ...Object.fromEntries(libraries.map((name) => [name, file(name)])),
          modules: dir({
            [MODULES]: dir({
              'overlay.ko.gz': file(gzipSync('driver')),
              'modules.dep': file('overlay.ko.gz:\n'),
              'modules.alias': file(''),
              'modules.builtin': file(''),
            }),
          }),
        }),
      }),
    },
    { mtimeSeconds: MTIME_SECONDS },
  );
}

/** Puts the archive of the engine into the cache of compressed archives. */
function fillCache(folder: string, engine: Uint8Array): void {
  const archive = new CpioWriter(MTIME_SECONDS).file('initramfs/bin/node', engine, 0o755).finish();
  const name = createHash('sha256').update(archive).digest('hex');
  mkdirSync(folder);
  writeFileSync(join(folder, `${name}.zst`), ENGINE);
}

interface Published {
  readonly folder: string;
  readonly build: (changes: Partial<ImageOptions> & { output: string }) => ReturnType<typeof buildIso>;
}

async function publish(t: Pick<TestContext, 'after'>): Promise<Published> {
  const folder = scratchFolder(t);
  const { binary } = guestRuntime();
  const repository = await CliRepository.create(folder);
  makeTree(join(folder, 'tree'), treeOf(binary));
  await repository.publish(join(folder, 'tree'));
  fillCache(join(folder, 'compressed'), binary);
  const access = openRepository(
    { fqrn: CliRepository.FQRN, servers: [repository.storage], proxies: [], keyFiles: [repository.key] },
    { cacheFolder: undefined, cacheLimitBytes: 1 << 28, log: silentLog },
  );
  t.after(() => access.close());
  const snapshot = await access.repository.resolve({});
  const mounted = await MountedSnapshot.open(snapshot, access.objects, { hashing: nodeHashing });
  const options = {
    fqrn: CliRepository.FQRN,
    servers: ['http://10.0.2.2:8000/cvmfs/@fqrn@'],
    proxies: ['http://proxy.example.org:3128'],
    keys: [readFileSync(repository.key)],
    cacheFolder: join(folder, 'compressed'),
  };
  return { folder, build: (changes) => buildIso(mounted, { ...options, ...changes }) };
}

function extract(iso: string, path: string, to: string): Buffer {
  execFileSync('xorriso', ['-osirrox', 'on', '-indev', iso, '-extract', path, to], { stdio: 'ignore' });
  return readFileSync(to);
}

describe('buildIso()', needs('xorriso'), () => {
  const endings: (() => void)[] = [];
  let repository: Promise<Published> | undefined;
  const published = () => {
    repository ??= publish({ after: (ending) => void endings.push(ending as () => void) });
    return repository;
  };
  after(() => {
    for (const ending of endings.reverse()) ending();
  });

  test('buildIso() makes an image of the newest kernel and the engine, and the same one again', async () => {
    const { folder, build } = await published();
    const said: string[] = [];
    const output = join(folder, 'one.iso');
    const parts = await build({ output, onProgress: (what) => said.push(what) });
    const initrd = extract(output, '/boot/initrd', join(folder, 'initrd'));
    assert.deepEqual(parts, {
      kernelVersion: MODULES,
      kernelBytes: KERNEL.length,
      initrdBytes: initrd.length,
      modules: 1,
      engine: guestRuntime().name,
    });
    assert.deepEqual(said, ['reading the kernel', 'packing the initrd', 'writing the image']);
    assert.deepEqual(extract(output, '/boot/vmlinuz', join(folder, 'vmlinuz')), KERNEL);
    assert.deepEqual(initrd.subarray(0, ENGINE.length), ENGINE);
    const archive = zstdDecompressSync(initrd.subarray(ENGINE.length)).toString('latin1');
    for (const content of [
      'busybox',
      'mke2fs',
      'e2fsck',
      'driver',
      'http://10.0.2.2:8000/cvmfs/@fqrn@',
      'PUBLIC KEY',
    ]) {
      assert.ok(archive.includes(content), content);
    }
    assert.ok(!archive.includes('initramfs/etc/blacklist'));
    const menu = extract(output, '/boot/grub/grub.cfg', join(folder, 'grub.cfg')).toString();
    assert.match(
      menu,
      /^menuentry "test\.example\.org" \{\n {2}linux \/boot\/vmlinuz console=tty0 console=ttyS0,115200 /m,
    );

    const again = join(folder, 'again.iso');
    await build({ output: again });
    assert.ok(readFileSync(again).equals(readFileSync(output)), 'the images differ');
  });

  test('buildIso() writes the settings that the machine boots with', async () => {
    const { folder, build } = await published();
    const output = join(folder, 'settings.iso');
    const files = (...contents: readonly string[]) => contents.map((content) => Buffer.from(content));
    const [keys, blacklists] = [files('first key', 'second key'), files('first list', 'second list')];
    await build({ output, tag: 'v1', keys, blacklists });
    const initrd = extract(output, '/boot/initrd', join(folder, 'settings.initrd'));
    const archive = zstdDecompressSync(initrd.subarray(ENGINE.length)).toString('latin1');
    const settings = archive.slice(archive.indexOf('etc/thimble.json\0')).replace(/^[^{]*/s, '');
    assert.deepEqual(JSON.parse(settings.slice(0, settings.indexOf('\n}') + 2)), {
      fqrn: CliRepository.FQRN,
      servers: ['http://10.0.2.2:8000/cvmfs/@fqrn@'],
      proxies: ['http://proxy.example.org:3128'],
      tag: 'v1',
    });
    assert.match(archive, /etc\/keys\/1\.pub\0+first key/);
    assert.match(archive, /etc\/keys\/2\.pub\0+second key/);
    assert.match(archive, /initramfs\/etc\/blacklist\0+first list\nsecond list\n/);
  });

  test('buildIso() keeps what it has compressed', async () => {
    const { folder, build } = await published();
    const cached = () => readdirSync(join(folder, 'compressed')).sort();
    const before = cached();
    // Its archive is another one.
    await build({ output: join(folder, 'other.iso'), tag: 'other' });
    const added = cached().filter((name) => !before.includes(name));
    assert.equal(added.length, 1);
    assert.match(added[0]!, /^[0-9a-f]{64}\.zst$/);
    await build({ output: join(folder, 'other.iso'), tag: 'other' });
    assert.equal(cached().length, before.length + 1);
  });
});
