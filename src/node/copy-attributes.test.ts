import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { copyAttributes } from './copy-attributes.ts';
import { readXattrs } from './xattrs.ts';

test(
  'copyAttributes() copies owner, mode, attributes, and times to the nanosecond',
  needs('root', 'attr'),
  (t) => {
    const [from, to] = ['from', 'to'].map((name) => join(memoryScratch(t), name)) as [string, string];
    for (const time of ['2024-02-29 12:00:00.123456789', '1960-01-01 00:00:00.000000001']) {
      for (const folder of [from, to]) mkdirSync(folder, { recursive: true });
      execFileSync('chown', ['12:34', from]);
      chmodSync(from, 0o3751);
      execFileSync('setfattr', ['-n', 'user.note', '-v', 'x', from]);
      execFileSync('touch', ['-d', `${time} UTC`, from]);
      copyAttributes(from, to);
      const facts = (path: string) => {
        const { mode, uid, gid, mtimeNs } = statSync(path, { bigint: true });
        return { mode, uid, gid, mtimeNs, xattrs: readXattrs(Buffer.from(`${path}\0`)) };
      };
      assert.deepEqual(facts(to), facts(from));
      assert.equal(facts(to).mtimeNs % 10n, time.startsWith('19') ? 1n - 10n : 9n);
    }
  },
);

test('what cannot be copied is told of', (t) => {
  const scratch = scratchFolder(t);
  assert.throws(() => copyAttributes(join(scratch, 'none'), scratch), { code: 'STORAGE' });
  assert.throws(() => copyAttributes('/proc', '/proc/self'), { code: 'STORAGE' });
});
