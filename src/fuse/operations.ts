/** What is done with each request of the kernel. */

import * as errno from '../core/errno.ts';
import * as abi from './abi.ts';
import { type FuseSession, NO_REPLY } from './session.ts';

type Handler = (session: FuseSession, body: number, end: number) => number;

export interface Operation {
  readonly name: string;
  /** Bytes of the fixed part behind the header; shorter requests get EINVAL. */
  readonly bodyBytes: number;
  readonly handle: Handler;
}

const failsWith =
  (error: number): Handler =>
  (session) =>
    session.fails(error);

const readOnly = failsWith(errno.EROFS);
/** The kernel takes ENOSYS here as "works without, never ask again". */
const neverAskAgain = failsWith(errno.ENOSYS);
const nothing: Handler = () => NO_REPLY;
const done: Handler = (session) => session.succeeds();

const NAME_BYTES = 2;

function table(
  rows: readonly [opcode: number, name: string, bodyBytes: number, handle: Handler][],
): Operation[] {
  const operations: Operation[] = [];
  for (const [opcode, name, bodyBytes, handle] of rows) operations[opcode] = { name, bodyBytes, handle };
  return operations;
}

export const OPERATIONS: readonly (Operation | undefined)[] = table([
  [abi.FUSE_INIT, 'INIT', abi.FuseInitIn.size, (session, body, end) => session.init(body, end)],
  [abi.FUSE_LOOKUP, 'LOOKUP', NAME_BYTES, (session, body, end) => session.lookup(body, end)],
  [abi.FUSE_GETATTR, 'GETATTR', 0, (session) => session.getattr()],
  [abi.FUSE_READLINK, 'READLINK', 0, (session) => session.readlink()],
  [abi.FUSE_READ, 'READ', abi.FuseReadIn.size, (session, body) => session.read(body)],
  [abi.FUSE_READDIR, 'READDIR', abi.FuseReadIn.size, (session, body) => session.readdir(body, false)],
  [abi.FUSE_READDIRPLUS, 'READDIRPLUS', abi.FuseReadIn.size, (session, body) => session.readdir(body, true)],
  [
    abi.FUSE_GETXATTR,
    'GETXATTR',
    abi.FuseGetxattrIn.size + NAME_BYTES,
    (session, body, end) => session.getxattr(body, end),
  ],
  [abi.FUSE_LISTXATTR, 'LISTXATTR', abi.FuseGetxattrIn.size, (session, body) => session.listxattr(body)],
  [abi.FUSE_STATFS, 'STATFS', 0, (session) => session.statfs()],
  // Nodes are positions in catalogs: there is nothing to forget or release.
  [abi.FUSE_FORGET, 'FORGET', 0, nothing],
  [abi.FUSE_BATCH_FORGET, 'BATCH_FORGET', 0, nothing],
  [abi.FUSE_OPEN, 'OPEN', 0, (session) => session.open()],
  [abi.FUSE_OPENDIR, 'OPENDIR', 0, neverAskAgain],
  [abi.FUSE_FLUSH, 'FLUSH', 0, neverAskAgain],
  [abi.FUSE_ACCESS, 'ACCESS', 0, neverAskAgain],
  [abi.FUSE_RELEASE, 'RELEASE', abi.FuseReleaseIn.size, (session, body) => session.release(body)],
  [abi.FUSE_RELEASEDIR, 'RELEASEDIR', 0, done],
  [abi.FUSE_INTERRUPT, 'INTERRUPT', abi.FuseInterruptIn.size, (session) => session.interrupts()],
  [abi.FUSE_DESTROY, 'DESTROY', 0, done],
  // overlayfs asks for file flags at copy-up; with ENOSYS it gives up, with ENOTTY it goes on.
  [abi.FUSE_IOCTL, 'IOCTL', 0, failsWith(errno.ENOTTY)],
  [abi.FUSE_SETATTR, 'SETATTR', 0, readOnly],
  [abi.FUSE_SYMLINK, 'SYMLINK', 0, readOnly],
  [abi.FUSE_MKNOD, 'MKNOD', 0, readOnly],
  [abi.FUSE_MKDIR, 'MKDIR', 0, readOnly],
  [abi.FUSE_UNLINK, 'UNLINK', 0, readOnly],
  [abi.FUSE_RMDIR, 'RMDIR', 0, readOnly],
  [abi.FUSE_RENAME, 'RENAME', 0, readOnly],
  [abi.FUSE_RENAME2, 'RENAME2', 0, readOnly],
  [abi.FUSE_LINK, 'LINK', 0, readOnly],
  [abi.FUSE_WRITE, 'WRITE', 0, readOnly],
  [abi.FUSE_SETXATTR, 'SETXATTR', 0, readOnly],
  [abi.FUSE_REMOVEXATTR, 'REMOVEXATTR', 0, readOnly],
  [abi.FUSE_CREATE, 'CREATE', 0, readOnly],
  [abi.FUSE_FALLOCATE, 'FALLOCATE', 0, readOnly],
  [abi.FUSE_TMPFILE, 'TMPFILE', 0, readOnly],
]);
