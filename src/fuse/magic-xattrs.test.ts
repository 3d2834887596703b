import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, askRaw, cString, sessionOf, sized } from '../../test/support/fuse-session.ts';
import { ascii, byteStringOf, bytesOf, concatBytes } from '../core/bytes/byte-string.ts';
import * as errno from '../core/errno.ts';
import { type NodeId, NotYet, ROOT_NODE } from '../core/vfs.ts';
import * as abi from './abi.ts';
import { ELSEWHERE, LATER, type MagicXattrs } from './session.ts';

const STORED = 'user.stored';
const NEED = { kind: 'object' } as NotYet['need'];

const vfs = {
  getxattr: (_: NodeId, name: string) => (name === STORED ? bytesOf(ascii('of the catalog')) : undefined),
  listxattr: () => [ascii(STORED)],
};

const magic = (listed: MagicXattrs['listed']): MagicXattrs => ({
  listed,
  get: (node, name) => {
    if (name === 'user.missing') return new NotYet(NEED);
    return name === 'user.none' ? undefined : bytesOf(ascii(`${name} of ${node}`));
  },
  list: (node) => [ascii(`user.listed-${node}`)],
});

const getxattr = (name: string) => concatBytes([sized(100), cString(name)]);
const OTHER_NODE = 7n;

test('magic attributes are those that no catalog has, below user. and xfsroot.', () => {
  const session = sessionOf(vfs, { magicXattrs: magic('root') });
  for (const [name, value] of [
    ['user.fqrn', 'user.fqrn of 7'],
    ['xfsroot.rawlink', 'xfsroot.rawlink of 7'],
    [STORED, 'of the catalog'],
  ] as const) {
    const { body } = ask(session, abi.FUSE_GETXATTR, getxattr(name), OTHER_NODE);
    assert.equal(byteStringOf(body), value);
  }
  for (const name of ['user.none', 'user.overlay.opaque', 'security.capability', 'trusted.x']) {
    assert.equal(ask(session, abi.FUSE_GETXATTR, getxattr(name)).error, errno.ENODATA, name);
  }
});

test('magic attributes may have to wait', () => {
  const session = sessionOf(vfs, { magicXattrs: magic('root') });
  assert.equal(askRaw(session, abi.FUSE_GETXATTR, getxattr('user.missing')), LATER);
  assert.equal(session.need, NEED);
});

test('a session that does not know them says so, for what might be one', () => {
  const session = sessionOf(vfs, { magicXattrs: { elsewhere: 'root' } });
  assert.equal(askRaw(session, abi.FUSE_GETXATTR, getxattr('user.fqrn')), LATER);
  assert.equal(session.need, ELSEWHERE);
  assert.equal(ask(session, abi.FUSE_GETXATTR, getxattr(STORED)).error, 0);
  assert.equal(ask(session, abi.FUSE_GETXATTR, getxattr('user.overlay.opaque')).error, errno.ENODATA);
  assert.equal(ask(session, abi.FUSE_GETXATTR, getxattr('security.capability')).error, errno.ENODATA);
});

for (const [listed, atRoot, elsewhere] of [
  ['root', true, false],
  ['everywhere', true, true],
  ['nowhere', false, false],
] as const) {
  test(`magic attributes are listed ${listed}`, () => {
    for (const [node, isListed] of [
      [BigInt(ROOT_NODE), atRoot],
      [OTHER_NODE, elsewhere],
    ] as const) {
      const knowing = sessionOf(vfs, { magicXattrs: magic(listed) });
      const { body } = ask(knowing, abi.FUSE_LISTXATTR, sized(100), node);
      assert.equal(byteStringOf(body), isListed ? `${STORED}\0user.listed-${node}\0` : `${STORED}\0`);
      const ignorant = sessionOf(vfs, { magicXattrs: { elsewhere: listed } });
      assert.equal(askRaw(ignorant, abi.FUSE_LISTXATTR, sized(100), node) === LATER, isListed);
    }
  });
}
