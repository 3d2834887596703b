/** Archives as busybox unpacks them, which reads them as the kernel does. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { readTree } from '../../test/support/trees.ts';
import { CpioWriter } from './cpio.ts';

const DIRECTORY = 0o040000;
const BUSYBOX = '/usr/bin/busybox';
const busybox = existsSync(BUSYBOX) ? needs('root') : { skip: `needs ${BUSYBOX}` };

test('busybox unpacks what CpioWriter writes', busybox, (t) => {
  const folder = scratchFolder(t);
  const content = Buffer.from(Array.from({ length: 5001 }, (_, index) => index & 0xff));
  const archive = new CpioWriter(1_700_000_000)
    .file('init', content, 0o755)
    .file('deep/er/caf\xe9', Buffer.from('x'), 0o4750)
    .symlink('deep/link', '../init')
    .characterDevice('dev/console', 5, 1)
    .finish();
  execFileSync(BUSYBOX, ['cpio', '-idm'], { cwd: folder, input: archive, stdio: ['pipe', 'ignore', 'pipe'] });
  const seen = [...readTree(folder)].slice(1).map(([path, entry]) => {
    const { mode, size, target, rdev, type } = entry;
    // Of directories and symlinks busybox does not keep the time.
    const mtime = type === DIRECTORY || target !== undefined ? '' : entry.mtimeNs.slice(0, 10);
    return { path, mode, size, target, rdev, mtime };
  });
  const folderLike = { mode: 0o755, size: 0, target: undefined, rdev: 0, mtime: '' };
  const fileLike = { target: undefined, rdev: 0, mtime: '1700000000' };
  assert.deepEqual(seen, [
    { path: '/deep', ...folderLike },
    { path: '/deep/er', ...folderLike },
    { path: '/deep/er/caf\xe9', ...fileLike, mode: 0o4750, size: 1 },
    { path: '/deep/link', mode: 0o777, size: 7, target: '../init', rdev: 0, mtime: '' },
    { path: '/dev', ...folderLike },
    { path: '/dev/console', ...fileLike, mode: 0o600, size: 0, rdev: 0x501 },
    { path: '/init', ...fileLike, mode: 0o755, size: 5001 },
  ]);
  assert.deepEqual(readFileSync(join(folder, 'init')), content);
});
