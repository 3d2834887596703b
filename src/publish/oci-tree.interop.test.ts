/** Images that umoci makes, and images that it unpacks. */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Described, describeTree } from '../../test/support/described-tree.ts';
import { needs } from '../../test/support/needs.ts';
import { LayoutBuilder, layerOf, member, named } from '../../test/support/oci-layout.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { dir, file, hardlink, makeTree, symlink } from '../../test/support/trees.ts';
import type { TarMember } from '../archive/tar-writer.ts';
import type { Tree } from '../core/tree.ts';
import { FolderTree } from './folder-tree.ts';
import { OciTree } from './oci-tree.ts';

const umoci = (...args: string[]) => execFileSync('umoci', args, { stdio: 'pipe' });

test(
  'an image that umoci made of three states of a folder is the last one',
  needs('root', 'umoci'),
  async (t) => {
    const scratch = memoryScratch(t);
    const [layout, bundle] = [join(scratch, 'layout'), join(scratch, 'bundle')];
    const rootfs = join(bundle, 'rootfs');
    umoci('init', '--layout', layout);
    umoci('new', '--image', `${layout}:image`);
    umoci('unpack', '--image', `${layout}:image`, bundle);
    makeTree(
      rootfs,
      dir({
        bin: dir({ tool: file('#!', { mode: 0o4755, uid: 7 }), same: hardlink('bin/tool') }),
        becomesFile: dir({ x: file('x') }),
        becomesFolder: file('y'),
        gone: dir({ deep: dir({ z: file('z') }) }),
        [`long${'n'.repeat(200)}`]: file('long'),
        link: symlink('bin/tool'),
      }),
    );
    umoci('repack', '--refresh-bundle', '--image', `${layout}:image`, bundle);
    for (const name of ['becomesFile', 'becomesFolder', 'gone'])
      rmSync(join(rootfs, name), { recursive: true });
    writeFileSync(join(rootfs, 'becomesFile'), 'now a file');
    mkdirSync(join(rootfs, 'becomesFolder'));
    writeFileSync(join(rootfs, 'becomesFolder/inside'), 'new');
    umoci('repack', '--refresh-bundle', '--image', `${layout}:image`, bundle);
    chmodSync(join(rootfs, 'bin'), 0o711);
    rmSync(join(rootfs, 'becomesFile'));
    umoci('repack', '--image', `${layout}:image`, bundle);
    umoci('unpack', '--image', `${layout}:image`, join(scratch, 'again'));
    const expected = await describeTree(new FolderTree(join(scratch, 'again/rootfs')));
    assert.deepEqual(await describeTree(await OciTree.open(layout, { ref: 'image' })), expected);
  },
);

const name = fc.constantFrom('a', 'b', 'c');
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/'));
const mode = fc.constantFrom(0o700, 0o755, 0o644);
const entry: fc.Arbitrary<TarMember> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(path, mode).map(([path, mode]) => member(`${path}/`, { mode })) },
  {
    weight: 4,
    arbitrary: fc.tuple(path, fc.nat(99)).map(([path, n]) => member(path, { content: `content ${n}` })),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(path, path)
      .map(([path, link]) => member(path, { type: 'symlink', link, mode: 0o777 })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(path, path).map(([path, link]) => member(path, { type: 'hardlink', link })),
  },
  { weight: 2, arbitrary: path.map((path) => member(path.replace(/[^/]+$/, (last) => `.wh.${last}`))) },
  { weight: 1, arbitrary: path.map((path) => member(`${path}/.wh..wh..opq`)) },
);
const layers = fc.array(fc.array(entry, { maxLength: 8 }), { minLength: 1, maxLength: 4 });

/** What both ways to unpack tell; of directories that nothing is said about, each has its own idea. */
async function seen(tree: Tree): Promise<Map<string, Partial<Described>>> {
  const all = [...(await describeTree(tree))].map(([path, { mode, content, target, links }]) => {
    const isDirectory = mode.startsWith('4');
    return [path, isDirectory ? {} : { mode, content, target, links }] as const;
  });
  return new Map(all.filter(([path]) => path !== ''));
}

test(
  'any layers that umoci can unpack are the tree that it makes of them',
  needs('root', 'umoci'),
  async (t) => {
    const scratch = memoryScratch(t);
    const [folder, bundle] = [join(scratch, 'layout'), join(scratch, 'bundle')];
    let compared = 0;
    await fc.assert(
      fc.asyncProperty(layers, async (layers) => {
        for (const old of [folder, bundle]) rmSync(old, { recursive: true, force: true });
        const layout = new LayoutBuilder(folder);
        layout.index([named(layout.image(await Promise.all(layers.map(layerOf))), 'image')]);
        const { status } = spawnSync('umoci', ['unpack', '--image', `${folder}:image`, bundle]);
        if (status !== 0) return;
        compared++;
        const expected = await seen(new FolderTree(join(bundle, 'rootfs')));
        const actual = await seen(await OciTree.open(folder));
        assert.deepEqual(actual, expected);
      }),
      { numRuns: 60 },
    );
    assert.ok(compared > 10, `${compared} of 60 could be compared`);
  },
);
