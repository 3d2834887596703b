import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { overlayAt, remountOverlay, unmount } from './overlay-mount.ts';

// What mounts, and what is refused, is tested with transactions.

test('what is no mount cannot be unmounted or remounted', needs('root'), (t) => {
  const folder = scratchFolder(t);
  assert.equal(overlayAt(folder), undefined);
  assert.throws(() => unmount(folder), { code: 'STORAGE', message: /Cannot unmount .*: errno 22/ });
  assert.throws(() => remountOverlay(folder, 'read-only'), { code: 'STORAGE', message: /Cannot remount/ });
});
