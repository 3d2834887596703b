/** Profiles through the command line: recorded on a mount, published, and streamed into another. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { Profile } from '../../src/core/profile-index.ts';
import type { ProfileStatus } from '../../src/mount/profile-feed.ts';
import { CliRepository } from '../support/cli-repository.ts';
import { noise } from '../support/memory-tree.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimble } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const FILES = 40;
const PATHS = Array.from({ length: FILES }, (_, index) => `${index % 2 === 0 ? 'even' : 'odd'}/f${index}`);
/** The last ones first. */
const WORKLOAD = PATHS.toReversed();
const contentOf = (path: string) => Buffer.from(noise(2000 + path.length, Number(path.replace(/\D/g, ''))));

const folderOf = (kind: string) =>
  dir({
    '.cvmfscatalog': file(''),
    ...Object.fromEntries(
      PATHS.filter((path) => path.startsWith(kind)).map((path) => [
        path.split('/')[1]!,
        file(contentOf(path)),
      ]),
    ),
  });

class Scene {
  readonly scratch: string;
  readonly source: string;
  readonly mountpoint: string;
  readonly repository: CliRepository;

  private constructor(scratch: string, repository: CliRepository) {
    this.scratch = scratch;
    this.source = join(scratch, 'source');
    this.mountpoint = join(scratch, 'mount');
    this.repository = repository;
  }

  /** With a profile `work`, of the whole workload, and nothing in the cache. */
  static async create(t: TestContext): Promise<Scene> {
    const scratch = memoryScratch(t);
    const scene = new Scene(scratch, await CliRepository.create(scratch));
    makeTree(scene.source, dir({ even: folderOf('even'), odd: folderOf('odd') }));
    mkdirSync(scene.mountpoint);
    await scene.repository.publish(scene.source);
    await scene.repository.mount(scene.mountpoint);
    const recording = join(scratch, 'work.rec');
    const cat = ['cat', ...WORKLOAD.map((path) => join(scene.mountpoint, path))];
    execFileSync('cat', cat.slice(1));
    // The second time everything is in the cache, and nothing with the kernel. (To drop its caches would spoil what other tests count.)
    await scene.repository.unmount(scene.mountpoint);
    await scene.repository.mount(scene.mountpoint);
    const { status, stderr } = await thimble([
      'record',
      scene.mountpoint,
      '--output',
      recording,
      '--',
      ...cat,
    ]);
    assert.equal(status, 0, stderr);
    await scene.unmount();
    await scene.repository.json(['profile', 'publish', CliRepository.FQRN, 'work', recording]);
    return scene;
  }

  async unmount(): Promise<void> {
    await this.repository.unmount(this.mountpoint);
    rmSync(this.repository.cache, { recursive: true });
  }

  async profile(): Promise<Profile> {
    const { storage, key } = this.repository;
    return this.repository.json<Profile>(['profile', 'show', storage, 'work', '--key', key]);
  }

  /** Waits until the profile has ended. */
  async ended(): Promise<ProfileStatus> {
    for (;;) {
      const { status } = await this.repository.json<{ status: { parts: { profile: ProfileStatus } } }>([
        'status',
        this.mountpoint,
      ]);
      const { profile } = status.parts;
      if (profile.phase !== 'looking' && profile.phase !== 'streaming') return profile;
    }
  }

  assertRightBytes(): void {
    for (const path of WORKLOAD) {
      assert.ok(execFileSync('cat', [join(this.mountpoint, path)]).equals(contentOf(path)), path);
    }
  }
}

describe('profiles', needs('fuse'), () => {
  test('what a workload reads is recorded, also what is in the cache, and streamed into the next mount', async (t) => {
    const scene = await Scene.create(t);
    const { objects, packs } = await scene.profile();
    // Root and two nested catalogs.
    assert.equal(objects, FILES + 3);
    assert.equal(packs.length, 1);
    await scene.repository.mount(scene.mountpoint, ['--profile', 'work']);
    const profile = await scene.ended();
    assert.deepEqual([profile.phase, profile.damaged, profile.requests], ['complete', 0, 1]);
    assert.equal(profile.delivered + profile.redundant, profile.missing);
    // The objects are gone from the server: what is read comes from the cache.
    rmSync(join(scene.repository.storage, 'data'), { recursive: true });
    scene.assertRightBytes();
    await scene.unmount();
  });

  test('reads get the right bytes while it streams, and with a cache in memory', async (t) => {
    const scene = await Scene.create(t);
    await scene.repository.mount(scene.mountpoint, ['--profile', 'work', '--cache', 'none']);
    scene.assertRightBytes();
    assert.equal((await scene.ended()).phase, 'complete');
    scene.assertRightBytes();
    await scene.repository.unmount(scene.mountpoint);
  });

  test('a profile of an earlier revision brings what is still the same', async (t) => {
    const scene = await Scene.create(t);
    appendFileSync(join(scene.source, 'odd/f1'), 'changed');
    await scene.repository.publish(scene.source);
    await scene.repository.mount(scene.mountpoint, ['--profile', 'work']);
    assert.equal((await scene.ended()).phase, 'complete');
    const changed = execFileSync('cat', [join(scene.mountpoint, 'odd/f1')]).toString('latin1');
    assert.ok(changed.endsWith('changed'));
    await scene.unmount();
  });

  test('a damaged pack, a missing pack and a missing profile: the mount reads on', async (t) => {
    const scene = await Scene.create(t);
    const { packs } = await scene.profile();
    const { hash } = packs[0]!;
    const pack = join(scene.repository.storage, 'data', hash.slice(0, 2), hash.slice(2));
    const bytes = readFileSync(pack);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(pack, bytes);
    await scene.repository.mount(scene.mountpoint, ['--profile', 'work']);
    assert.equal((await scene.ended()).damaged, 1);
    scene.assertRightBytes();
    await scene.unmount();

    rmSync(pack);
    await scene.repository.mount(scene.mountpoint, ['--profile', 'work']);
    assert.deepEqual([(await scene.ended()).phase, (await scene.ended()).delivered], ['complete', 0]);
    scene.assertRightBytes();
    await scene.unmount();

    await scene.repository.mount(scene.mountpoint, ['--profile', 'none']);
    assert.equal((await scene.ended()).phase, 'absent');
    scene.assertRightBytes();
    await scene.unmount();
  });
});
