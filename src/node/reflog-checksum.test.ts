import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { readReflogChecksum } from './reflog-checksum.ts';

const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497-shake128';

for (const [what, text, expected] of [
  ['a hash', HASH, HASH],
  ['a hash and a newline', `${HASH}\n`, HASH],
  ['something else', 'none', undefined],
] as const) {
  test(`readReflogChecksum() reads ${what}`, (t) => {
    const spool = scratchFolder(t);
    mkdirSync(join(spool, 'a.example.org'));
    writeFileSync(join(spool, 'a.example.org/reflog.chksum'), text);
    assert.equal(readReflogChecksum('a.example.org', spool), expected);
    assert.equal(readReflogChecksum('b.example.org', spool), undefined);
  });
}
