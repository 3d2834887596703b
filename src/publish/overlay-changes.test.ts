import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { OverlayChanges } from './overlay-changes.ts';

interface Layers {
  readonly upper: string;
  readonly index: string;
  /** Names in the lower layer of files in the index. */
  readonly names: Record<string, readonly string[]>;
  /** Writes a file, with the folders above it. */
  write(path: string, content: string): void;
  whiteout(path: string): void;
  attribute(path: string, name: string, value: string): void;
  /** The changes, as `KIND PATH` and what else counts. */
  list(): Promise<string[]>;
}

/** Layers as the kernel leaves them, made by hand. */
function layers(t: TestContext): Layers {
  const scratch = memoryScratch(t);
  const [upper, work] = [join(scratch, 'upper'), join(scratch, 'work')];
  const index = join(work, 'index');
  for (const folder of [upper, index]) mkdirSync(folder, { recursive: true });
  const names: Record<string, readonly string[]> = {};
  const place = (path: string) => {
    mkdirSync(dirname(join(upper, path)), { recursive: true });
    return join(upper, path);
  };
  const namesOf = async (handle: ByteString) => names[handle]! as ByteString[];
  return {
    upper,
    index,
    names,
    write: (path, content) => writeFileSync(place(path), content),
    whiteout: (path) => execFileSync('mknod', [place(path), 'c', '0', '0']),
    attribute: (path, name, value) => execFileSync('setfattr', ['-n', name, '-v', value, place(path)]),
    list: async () => {
      const listed: string[] = [];
      const keys: string[] = [];
      for await (const change of new OverlayChanges({ upper, work, namesOf }, 'test').changes()) {
        if (change.kind !== 'put') listed.push(`${change.kind} ${change.path}`);
        else {
          const { path, content, linkKey, xattrs } = change.entry;
          if (linkKey !== undefined && !keys.includes(linkKey)) keys.push(linkKey);
          const link = linkKey === undefined ? [] : [`link ${keys.indexOf(linkKey)}`];
          const text = content?.kind === 'file' ? [readFileSync(content.hostPath, 'utf8')] : [];
          listed.push([`put ${path}`, ...text, ...link, ...xattrs.keys()].join(', '));
        }
      }
      return listed;
    },
  };
}

describe('OverlayChanges', needs('root', 'attr'), () => {
  test('reads files, folders and both forms of whiteouts', async (t) => {
    const { write, whiteout, attribute, list } = layers(t);
    write('/d/file', 'content');
    whiteout('/d/gone');
    // As an overlay inside another one makes them.
    write('/e/also-gone', '');
    attribute('/e/also-gone', 'trusted.overlay.whiteout', 'y');
    attribute('/e', 'trusted.overlay.opaque', 'x');
    write('/e/empty', '');
    assert.deepEqual(await list(), [
      'put ',
      'put /d',
      'put /d/file, content',
      'remove /d/gone',
      'put /e',
      'remove /e/also-gone',
      'put /e/empty, ',
    ]);
  });

  test('clears opaque folders, after they are there', async (t) => {
    const { write, attribute, list } = layers(t);
    write('/d/file', 'content');
    attribute('/d', 'trusted.overlay.opaque', 'y');
    assert.deepEqual(await list(), ['put ', 'put /d', 'clear /d', 'put /d/file, content']);
  });

  test('leaves out what the overlay keeps for itself', async (t) => {
    const { write, attribute, list } = layers(t);
    write('/file', 'content');
    attribute('/file', 'trusted.overlay.origin', 'x');
    attribute('/file', 'user.own', 'x');
    assert.deepEqual(await list(), ['put ', 'put /file, content, user.own']);
  });

  test('a file with several names has its content once', async (t) => {
    const { upper, write, list } = layers(t);
    write('/a', 'content');
    linkSync(join(upper, 'a'), join(upper, 'b'));
    assert.deepEqual(await list(), ['put ', 'put /a, content, link 0', 'put /b, link 0']);
  });

  test('names that nobody touched show what was written to another one', async (t) => {
    const { upper, index, names, write, list } = layers(t);
    write('/d/a', 'changed');
    linkSync(join(upper, 'd/a'), join(index, 'handle'));
    names['handle'] = ['/d/a', '/d/b', '/d/c'];
    write('/d/c', 'another file');
    assert.deepEqual(await list(), [
      'put ',
      'put /d',
      'put /d/a, changed, link 0',
      'put /d/c, another file',
      'put /d/b, link 0',
    ]);
  });

  test('also when the name that was written to is gone', async (t) => {
    const { index, names, whiteout, list } = layers(t);
    whiteout('/d/a');
    writeFileSync(join(index, 'handle'), 'changed');
    names['handle'] = ['/d/a', '/d/b', '/d/c'];
    const untouched = ['put /d/b, changed, link 0', 'put /d/c, link 0'];
    assert.deepEqual(await list(), ['put ', 'put /d', 'remove /d/a', ...untouched]);
  });

  test('but not below what has gone or has become something else', async (t) => {
    const { index, names, write, whiteout, attribute, list } = layers(t);
    whiteout('/gone');
    write('/file', '');
    write('/opaque/new', '');
    attribute('/opaque', 'trusted.overlay.opaque', 'y');
    writeFileSync(join(index, 'handle'), 'changed');
    names['handle'] = ['/gone/a', '/file/a', '/opaque/a'];
    const own = ['put ', 'put /file, ', 'remove /gone', 'put /opaque', 'clear /opaque', 'put /opaque/new, '];
    assert.deepEqual(await list(), own);
  });

  test('whiteouts in the index, and a missing index, mean nothing', async (t) => {
    const { index, list } = layers(t);
    execFileSync('mknod', [join(index, 'handle'), 'c', '0', '0']);
    assert.deepEqual(await list(), ['put ']);
    execFileSync('rm', ['-r', index]);
    assert.deepEqual(await list(), ['put ']);
  });

  test('a layer that is not there is told of', async () => {
    const nowhere = { upper: '/nonexistent/upper', work: '/nonexistent', namesOf: async () => [] };
    const first = new OverlayChanges(nowhere, 'test').changes().next();
    await assert.rejects(first, { code: 'NOT_FOUND' });
  });
});
