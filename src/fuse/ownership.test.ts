import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, listing, readBody, sessionOf } from '../../test/support/fuse-session.ts';
import { ascii, bytesOf } from '../core/bytes/byte-string.ts';
import type { NodeId } from '../core/vfs.ts';
import * as abi from './abi.ts';
import { type Ownership, parseIdMap, shownGid, shownMode, shownUid } from './ownership.ts';

test('parseIdMap() reads pairs, a default and comments', () => {
  const text = '# accounts\n1000 500\n\n 0\t4294967294 # root\n* 65534\n';
  const ids = new Map([
    [1000, 500],
    [0, 4294967294],
  ]);
  assert.deepEqual(parseIdMap(text, 'uids'), { ids, others: 65534 });
  assert.deepEqual(parseIdMap('', 'uids'), { ids: new Map(), others: undefined });
});

for (const line of ['1000', '1 2 3', 'root 0', '1 nobody', '-1 2', '1 4294967295', '1 *', '0x1 2', '1.5 2']) {
  test(`parseIdMap() refuses the line ${JSON.stringify(line)} with FORMAT, and tells where it is`, () => {
    assert.throws(() => parseIdMap(`1 2\n${line}\n`, 'uids'), { code: 'FORMAT', message: /uids, line 2/ });
  });
}

test('a map leaves numbers alone that it does not have, unless it has a default', () => {
  const ids = new Map([[1, 11]]);
  assert.deepEqual(
    [1, 2].map((id) => shownUid({ uids: { ids, others: undefined } }, id)),
    [11, 2],
  );
  assert.deepEqual(
    [1, 2].map((id) => shownGid({ gids: { ids, others: 99 } }, id)),
    [11, 99],
  );
  assert.equal(shownGid({ uids: { ids, others: 99 } }, 1), 1);
});

test('who claims everything gets it, whatever the maps say', () => {
  const claimed: Ownership = { everythingOf: { uid: 7, gid: 8 }, uids: { ids: new Map(), others: 1 } };
  assert.deepEqual([shownUid(claimed, 0), shownGid(claimed, 0)], [7, 8]);
});

test('world-readable: read for all files, enter for directories, nothing for symlinks', () => {
  const readable: Ownership = { isWorldReadable: true };
  for (const [mode, shown] of [
    [0o100600, 0o100644],
    [0o104700, 0o104744],
    [0o040700, 0o040755],
    [0o120777, 0o120777],
    [0o100000, 0o100444],
  ] as const) {
    assert.equal(shownMode(readable, mode), shown);
    assert.equal(shownMode({}, mode), mode);
  }
});

test('a session shows owners and modes as it is told, in every reply that has attributes', () => {
  const attributes = {
    ...{ node: 5 as NodeId, inodeHigh: 0, inodeLow: 5, mode: 0o100600, linkCount: 1, uid: 1, gid: 2 },
    ...{ sizeBytes: 3, rdev: 0, mtimeSeconds: 0, mtimeNs: 0 },
  };
  const ownership: Ownership = { everythingOf: { uid: 7, gid: 8 }, isWorldReadable: true };
  const entry = { name: bytesOf(ascii('entry')), attributes, cookie: 1 };
  const vfs = { ...listing([entry]), getattr: () => attributes, lookup: () => attributes };
  const session = sessionOf(vfs, { ownership });
  const expected = { mode: 0o100644, uid: 7, gid: 8 };
  assert.partialDeepStrictEqual(
    abi.FuseAttrOut.decode(ask(session, abi.FUSE_GETATTR, new Uint8Array(16)).body),
    expected,
  );
  assert.partialDeepStrictEqual(
    abi.FuseEntryOut.decode(ask(session, abi.FUSE_LOOKUP, Uint8Array.of(0x61, 0)).body),
    expected,
  );
  const listed = ask(session, abi.FUSE_READDIRPLUS, readBody(2n, 4096)).body;
  assert.partialDeepStrictEqual(abi.FuseEntryOut.decode(listed), expected);
});
