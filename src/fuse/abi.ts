/**
 * The FUSE kernel protocol, version 7.31 and later: opcodes, flags, and the structures of include/uapi/linux/fuse.h in
 * kernel order. Little-endian (the protocol has the byte order of the host, and the hosts are x86-64 and arm64).
 */

import { s32, struct, u16, u32, u64 } from '../core/bytes/struct.ts';

export const FUSE_MAJOR = 7;
/** The newest minor version spoken (Linux 6.18); the kernel uses the lower of both. */
export const FUSE_MINOR = 45;
/** Linux 5.4; older kernels lack CACHE_SYMLINKS and NO_OPENDIR_SUPPORT. */
export const FUSE_MINOR_MINIMUM = 31;

export const FUSE_LOOKUP = 1;
export const FUSE_FORGET = 2;
export const FUSE_GETATTR = 3;
export const FUSE_SETATTR = 4;
export const FUSE_READLINK = 5;
export const FUSE_SYMLINK = 6;
export const FUSE_MKNOD = 8;
export const FUSE_MKDIR = 9;
export const FUSE_UNLINK = 10;
export const FUSE_RMDIR = 11;
export const FUSE_RENAME = 12;
export const FUSE_LINK = 13;
export const FUSE_OPEN = 14;
export const FUSE_READ = 15;
export const FUSE_WRITE = 16;
export const FUSE_STATFS = 17;
export const FUSE_RELEASE = 18;
export const FUSE_SETXATTR = 21;
export const FUSE_GETXATTR = 22;
export const FUSE_LISTXATTR = 23;
export const FUSE_REMOVEXATTR = 24;
export const FUSE_FLUSH = 25;
export const FUSE_INIT = 26;
export const FUSE_OPENDIR = 27;
export const FUSE_READDIR = 28;
export const FUSE_RELEASEDIR = 29;
export const FUSE_ACCESS = 34;
export const FUSE_CREATE = 35;
export const FUSE_INTERRUPT = 36;
export const FUSE_DESTROY = 38;
export const FUSE_IOCTL = 39;
export const FUSE_BATCH_FORGET = 42;
export const FUSE_FALLOCATE = 43;
export const FUSE_READDIRPLUS = 44;
export const FUSE_RENAME2 = 45;
export const FUSE_TMPFILE = 51;

export const INIT_ASYNC_READ = 1 << 0;
export const INIT_EXPORT_SUPPORT = 1 << 4;
export const INIT_DO_READDIRPLUS = 1 << 13;
export const INIT_NO_OPEN_SUPPORT = 1 << 17;
export const INIT_PARALLEL_DIROPS = 1 << 18;
export const INIT_MAX_PAGES = 1 << 22;
export const INIT_CACHE_SYMLINKS = 1 << 23;
export const INIT_NO_OPENDIR_SUPPORT = 1 << 24;
/** There is a second word of flags. Since 7.36. */
export const INIT_EXT = 1 << 30;
/** Bits of the second word: kernel bit minus 32. */
export const INIT2_HAS_EXPIRE_ONLY = 1 << 3;
/** Since 7.40, where the kernel was built with it. */
export const INIT2_PASSTHROUGH = 1 << 5;
export const INIT2_HAS_RESEND = 1 << 7;

// What the server tells the kernel unasked: the code is where a reply has its error.
export const NOTIFY_INVAL_INODE = 2;
export const NOTIFY_INVAL_ENTRY = 3;
export const NOTIFY_STORE = 4;
/** Since 7.40. */
export const NOTIFY_RESEND = 7;
/** Since 7.44. */
export const NOTIFY_INC_EPOCH = 8;

export const FuseInHeader = struct('fuse_in_header', {
  len: u32, // bytes of the request, this header included
  opcode: u32,
  unique: u64, // opaque; echoed in the reply
  nodeid: u64,
  uid: u32,
  gid: u32,
  pid: u32,
  totalExtlen: u16,
  padding: u16,
}); // 40 bytes

export const FuseOutHeader = struct('fuse_out_header', {
  len: u32, // bytes of the reply, this header included
  error: s32, // 0 or a negative errno
  unique: u64,
}); // 16 bytes

const attr = {
  ino: u64,
  size: u64,
  blocks: u64,
  atime: u64,
  mtime: u64,
  ctime: u64,
  atimensec: u32,
  mtimensec: u32,
  ctimensec: u32,
  mode: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  rdev: u32,
  blksize: u32,
  flags: u32,
} as const;

export const FuseAttr = struct('fuse_attr', attr); // 88 bytes

export const FuseEntryOut = struct('fuse_entry_out', {
  nodeid: u64,
  generation: u64,
  entryValid: u64, // seconds
  attrValid: u64, // seconds
  entryValidNsec: u32,
  attrValidNsec: u32,
  ...attr,
}); // 128 bytes

export const FuseAttrOut = struct('fuse_attr_out', {
  attrValid: u64, // seconds
  attrValidNsec: u32,
  dummy: u32,
  ...attr,
}); // 104 bytes

export const FuseInitIn = struct('fuse_init_in', {
  major: u32,
  minor: u32,
  maxReadahead: u32, // bytes
  flags: u32,
}); // the part that every kernel sends; 64 bytes since 7.36

export const FuseInitInExt = struct('fuse_init_in', {
  major: u32,
  minor: u32,
  maxReadahead: u32, // bytes
  flags: u32,
  flags2: u32,
}); // with INIT_EXT; what follows is unused

export const FuseInitOut = struct('fuse_init_out', {
  major: u32,
  minor: u32,
  maxReadahead: u32, // bytes
  flags: u32,
  maxBackground: u16,
  congestionThreshold: u16,
  maxWrite: u32, // bytes
  timeGran: u32, // nanoseconds
  maxPages: u16,
  mapAlignment: u16,
  flags2: u32,
  maxStackDepth: u32,
  requestTimeout: u16,
  unused0: u16,
  unused1: u32,
  unused2: u32,
  unused3: u32,
  unused4: u32,
  unused5: u32,
}); // 64 bytes

export const FOPEN_DIRECT_IO = 1 << 0;
/** What is in the page cache stays there. */
export const FOPEN_KEEP_CACHE = 1 << 1;
/** Since 7.35; older kernels ask with FLUSH, once. */
export const FOPEN_NOFLUSH = 1 << 5;
/** The kernel reads from the file behind `backingId`. */
export const FOPEN_PASSTHROUGH = 1 << 7;

export const FuseOpenOut = struct('fuse_open_out', {
  fh: u64,
  openFlags: u32, // FOPEN_*
  backingId: u32,
}); // 16 bytes

export const FuseReleaseIn = struct('fuse_release_in', {
  fh: u64,
  flags: u32,
  releaseFlags: u32,
  lockOwner: u64,
}); // 24 bytes

/** Bit 31 of the upper half of `unique`: a request that an earlier process may have handled. Since 7.40. */
export const UNIQUE_RESENT_HIGH = 0x8000_0000;

export const FuseReadIn = struct('fuse_read_in', {
  fh: u64,
  offset: u64,
  size: u32,
  readFlags: u32,
  lockOwner: u64,
  flags: u32,
  padding: u32,
}); // 40 bytes; also READDIR and READDIRPLUS

export const FuseDirent = struct('fuse_dirent', {
  ino: u64,
  off: u64, // cookie that continues behind this entry
  namelen: u32,
  type: u32, // DT_*, the file type bits of st_mode shifted right by 12
}); // 24 bytes, then the name, zero-padded to a multiple of 8

export const FuseGetxattrIn = struct('fuse_getxattr_in', {
  size: u32, // 0: only the length is asked for
  padding: u32,
}); // 8 bytes, then the name and a zero; LISTXATTR has no name

export const FuseGetxattrOut = struct('fuse_getxattr_out', { size: u32, padding: u32 }); // 8 bytes

export const FuseKstatfs = struct('fuse_kstatfs', {
  blocks: u64,
  bfree: u64,
  bavail: u64,
  files: u64,
  ffree: u64,
  bsize: u32,
  namelen: u32,
  frsize: u32,
  padding: u32,
  spare0: u32,
  spare1: u32,
  spare2: u32,
  spare3: u32,
  spare4: u32,
  spare5: u32,
}); // 80 bytes

export const FuseInterruptIn = struct('fuse_interrupt_in', { unique: u64 }); // 8 bytes

export const FuseNotifyInvalInodeOut = struct('fuse_notify_inval_inode_out', {
  ino: u64, // the node id
  off: u64, // s64; negative for attributes alone
  len: u64, // s64; 0 for everything behind `off`
}); // 24 bytes

export const FuseNotifyStoreOut = struct('fuse_notify_store_out', {
  nodeid: u64,
  offset: u64,
  size: u32, // bytes of content that follow
  padding: u32,
}); // 24 bytes

/** The entry is not dropped but asked for again when it is next used. Since 7.38. */
export const EXPIRE_ONLY = 1 << 0;

export const FuseNotifyInvalEntryOut = struct('fuse_notify_inval_entry_out', {
  parent: u64,
  namelen: u32,
  flags: u32, // EXPIRE_ONLY
}); // 16 bytes, then the name and a zero
