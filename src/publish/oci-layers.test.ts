import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { layerOf, type MemberValues, member } from '../../test/support/oci-layout.ts';
import { pieces } from '../../test/support/tar-archive.ts';
import { readTar } from '../archive/tar.ts';
import type { TarMember } from '../archive/tar-writer.ts';
import { MergedLayers } from './oci-layers.ts';

const symlink = (path: string, link: string) => member(path, { type: 'symlink', link });
const hardlink = (path: string, link: string) => member(path, { type: 'hardlink', link });

/** What is left: directories with their mode, other paths with layer and number of their entry. */
async function merged(
  ...layers: readonly (readonly (TarMember | string)[])[]
): Promise<Record<string, string>> {
  const all = new MergedLayers();
  for (const layer of layers) {
    const members = layer.map((one) => (typeof one === 'string' ? member(one) : one));
    await all.add(readTar(pieces(await layerOf(members))));
  }
  const result: [string, string][] = [];
  for (const { path, mode } of all.directories()) result.push([path, (mode & 0o7777).toString(8)]);
  for (const [layer, leaves] of all.leaves().entries()) {
    for (const [ordinal, names] of leaves)
      for (const name of names) result.push([name, `${layer}.${ordinal}`]);
  }
  return Object.fromEntries(result.sort(([a], [b]) => (a < b ? -1 : 1)));
}

const dir = (path: string, mode: number, more: MemberValues = {}) => member(path, { mode, ...more });

describe('layers', () => {
  for (const [what, layers, expected] of [
    ['later files replace earlier ones', [['a', 'b'], ['a']], { '/a': '1.0', '/b': '0.1' }],
    [
      'a directory keeps what is in it, and takes the later attributes',
      [
        [dir('d/', 0o700), 'd/a'],
        [dir('d/', 0o711), 'd/b'],
      ],
      { '/d': '711', '/d/a': '0.1', '/d/b': '1.1' },
    ],
    [
      'a directory that only an upper layer implies keeps its attributes',
      [[dir('d/', 0o700), 'd/a'], ['d/b']],
      { '/d': '700', '/d/a': '0.1', '/d/b': '1.0' },
    ],
    [
      'whiteouts remove files and whole directories',
      [
        ['a', 'd/', 'd/x', 'd/y/z', 'k'],
        ['.wh.a', '.wh.d'],
      ],
      { '/k': '0.4' },
    ],
    [
      'a whiteout does not touch what its own layer adds, in either order',
      [
        ['d/', 'd/old', 'e/', 'e/old'],
        ['.wh.d', dir('d/', 0o711), 'd/new', dir('e/', 0o711), 'e/new', '.wh.e'],
      ],
      { '/d': '711', '/d/new': '1.2', '/e': '711', '/e/new': '1.4' },
    ],
    [
      'an opaque directory keeps what its own layer adds, in either order',
      [
        ['d/', 'd/a', 'd/s/b'],
        ['d/new', 'd/.wh..wh..opq'],
      ],
      { '/d': '755', '/d/new': '1.0' },
    ],
    [
      'an opaque root removes everything',
      [
        ['a', 'd/', 'd/x'],
        ['.wh..wh..opq', 'b'],
      ],
      { '/b': '1.1' },
    ],
    [
      'a whiteout of nothing is nothing',
      [['a'], ['.wh.b', 'no/.wh.c', 'a/.wh.d', 'no/.wh..wh..opq']],
      { '/a': '0.0' },
    ],
    [
      'entries of the file system that whiteouts were made for are left out',
      [['a'], ['.wh..wh.plnk/', '.wh..wh.aufs']],
      { '/a': '0.0' },
    ],
    ['what is removed can come back', [['a'], ['.wh.a'], ['a']], { '/a': '2.0' }],
    ['a file becomes a directory', [['a'], ['a/', 'a/x']], { '/a': '755', '/a/x': '1.1' }],
    ['a directory becomes a file', [['a/', 'a/x', 'a/y/z'], ['a']], { '/a': '1.0' }],
    [
      'a directory becomes a file and a directory again, without what was in it',
      [['a/', 'a/x'], ['a'], ['a/', 'a/y']],
      { '/a': '755', '/a/y': '2.1' },
    ],
    ['of a path that comes twice in a layer the later one counts', [['a', 'a']], { '/a': '0.1' }],
    ['hard links are the same entry', [['a', hardlink('b', 'a')]], { '/a': '0.0', '/b': '0.0' }],
    [
      'a hard link of an earlier layer stays when that name goes',
      [['a'], [hardlink('b', './a'), '.wh.c'], ['.wh.a']],
      { '/b': '0.0' },
    ],
    [
      'a hard link stays when its target is replaced',
      [['a', hardlink('b', '/a')], ['a']],
      { '/a': '1.0', '/b': '0.0' },
    ],
    [
      'a hard link of a symlink is the symlink',
      [[symlink('s', 'x'), hardlink('t', 's')]],
      { '/s': '0.0', '/t': '0.0' },
    ],
    [
      'symlinks above an entry are followed within the image',
      [
        ['usr/lib/', symlink('lib', 'usr/lib')],
        ['lib/x', 'lib/y/z'],
      ],
      {
        '/lib': '0.1',
        '/usr': '755',
        '/usr/lib': '755',
        '/usr/lib/y': '755',
        '/usr/lib/x': '1.0',
        '/usr/lib/y/z': '1.1',
      },
    ],
    [
      'no symlink leads out of the image',
      [
        [symlink('up', '../../../etc'), symlink('abs', '/etc')],
        ['up/x', 'abs/y'],
      ],
      { '/abs': '0.1', '/etc': '755', '/etc/x': '1.0', '/etc/y': '1.1', '/up': '0.0' },
    ],
    [
      'whiteouts follow symlinks too',
      [['usr/lib/x', symlink('lib', 'usr/lib')], ['lib/.wh.x']],
      { '/lib': '0.1', '/usr': '755', '/usr/lib': '755' },
    ],
    [
      'a directory replaces a symlink',
      [
        ['usr/lib/x', symlink('lib', 'usr/lib')],
        ['lib/', 'lib/y'],
      ],
      { '/lib': '755', '/lib/y': '1.1', '/usr': '755', '/usr/lib': '755', '/usr/lib/x': '0.0' },
    ],
    ['the root has attributes', [[dir('./', 0o700)], [dir('/', 0o711)]], { '': '711' }],
    [
      'names are those of objects in no language',
      [['__proto__/constructor', 'toString']],
      { '/__proto__': '755', '/__proto__/constructor': '0.0', '/toString': '0.1' },
    ],
  ] as const) {
    test(what, async () => {
      assert.deepEqual(await merged(...layers), expected);
    });
  }

  for (const [what, layers, code, message] of [
    ['a path that leaves the tree', [['a/../../b']], 'FORMAT', /its path leaves the tree/],
    [
      'an entry below a file',
      [['a'], ['a/x']],
      'FORMAT',
      /\/a\/x of a layer: what is above it is no directory/,
    ],
    [
      'an entry below a file in the same layer',
      [['a', 'a/b/x']],
      'FORMAT',
      /what is above it is no directory/,
    ],
    [
      'a hard link of nothing',
      [[hardlink('b', 'a'), 'a']],
      'FORMAT',
      /\/b of a layer: it is a hard link of a, which is/,
    ],
    ['a hard link of a directory', [['a/', hardlink('b', 'a')]], 'FORMAT', /which is no file of this/],
    [
      'a hard link of what its layer removes',
      [['a'], ['.wh.a', hardlink('b', 'a')]],
      'FORMAT',
      /which is no file of this/,
    ],
    [
      'a loop of symlinks',
      [[symlink('a', 'b'), symlink('b', 'a')], ['a/x']],
      'FORMAT',
      /symlinks above it form a loop/,
    ],
    ['a root that is none', [[member('.')]], 'FORMAT', /the root is a file/],
    ['a path that is too long', [[`${'a/'.repeat(2048)}b`]], 'LIMIT', /the path is too long/],
  ] as const) {
    test(`${what} is refused`, async () => {
      await assert.rejects(merged(...layers), { code, message });
    });
  }
});
