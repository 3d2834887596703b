/**
 * A FUSE session: a function from the bytes of one request to the bytes of its reply, or to "later". It knows nothing of
 * devices and threads: who reads requests, writes replies and waits is the adapter's affair.
 *
 * Requests are dispatched by a table. The hot replies (LOOKUP, GETATTR, READDIRPLUS, READ) are written with fixed
 * offsets, without allocation; a test holds them against the tables of `abi.ts`.
 */

import { type ByteString, type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import * as errno from '../core/errno.ts';
import { type Log, silentLog } from '../core/ports.ts';
import {
  type Attributes,
  type Need,
  type NodeId,
  NotYet,
  ROOT_NODE,
  S_IFDIR,
  S_IFMT,
  type Vfs,
} from '../core/vfs.ts';
import * as abi from './abi.ts';

/** `handle` answers with the length of the reply, or one of these. */
export const NO_REPLY = 0;
export const LATER = -1;

export const MAX_READ_BYTES = 1024 * 1024;
/** The kernel refuses to hand requests to a smaller buffer: 8 KiB, or `maxWrite` and headers. */
export const REQUEST_BUFFER_BYTES = 64 * 1024;
export const REPLY_BUFFER_BYTES = abi.FuseOutHeader.size + MAX_READ_BYTES;

const PAGE_BYTES = 4096;
const IN_HEADER = abi.FuseInHeader.size;
const OUT_HEADER = abi.FuseOutHeader.size;
const ENTRY_OUT = abi.FuseEntryOut.size;
const ATTR_OUT = abi.FuseAttrOut.size;
const ATTR_IN_ENTRY = ENTRY_OUT - abi.FuseAttr.size;
const ATTR_IN_ATTR_OUT = ATTR_OUT - abi.FuseAttr.size;
const DIRENT = abi.FuseDirent.size;

// Cookies 1 and 2 belong to `.` and `..`; those of a file system follow.
const COOKIES_OF_DOTS = 2;
const DOT = Uint8Array.of(0x2e);
const DOTS = Uint8Array.of(0x2e, 0x2e);

export interface SessionOptions {
  /** How long the kernel may keep names and attributes. A pinned snapshot never changes: years. */
  readonly validSeconds: number;
  /**
   * Answer ENOSYS to GETXATTR, after which the kernel never asks again. Faster below an overlay, but file capabilities
   * and all other attributes are gone.
   */
  readonly withoutXattrs?: boolean;
  readonly log?: Log;
}

type Handler = (session: FuseSession, body: number, end: number) => number;

interface Operation {
  readonly name: string;
  /** Bytes of the fixed part behind the header; shorter requests get EINVAL. */
  readonly bodyBytes: number;
  readonly handle: Handler;
}

export class FuseSession {
  readonly #vfs: Vfs;
  readonly #options: SessionOptions;
  readonly #log: Log;
  #request: Bytes = new Uint8Array(0);
  #in: DataView = new DataView(new ArrayBuffer(0));
  #reply: Bytes = new Uint8Array(0);
  #out: DataView = new DataView(new ArrayBuffer(0));
  #node: NodeId = ROOT_NODE;
  /** What the request waits for that was answered with LATER; `undefined` for INTERRUPT. */
  need: Need | undefined;
  /** Requests handled, by opcode. */
  readonly counts = new Float64Array(64);

  constructor(vfs: Vfs, options: SessionOptions) {
    this.#vfs = vfs;
    this.#options = options;
    this.#log = options.log ?? silentLog;
  }

  /**
   * Handles the request of `length` bytes in `request` and writes the reply into `reply`. The same two buffers should be
   * passed again and again. Never throws: what goes wrong becomes an error reply and a line in the log.
   */
  handle(request: Bytes, length: number, reply: Bytes): number {
    if (request !== this.#request) {
      this.#request = request;
      this.#in = new DataView(request.buffer, request.byteOffset, request.byteLength);
    }
    if (reply !== this.#reply) {
      this.#reply = reply;
      this.#out = new DataView(reply.buffer, reply.byteOffset, reply.byteLength);
    }
    if (length < IN_HEADER) return NO_REPLY;
    const opcode = this.#in.getUint32(4, true);
    const operation = OPERATIONS[opcode];
    if (opcode < this.counts.length) this.counts[opcode]!++;
    if (operation === undefined) return this.#fail(errno.ENOSYS);
    if (length < IN_HEADER + operation.bodyBytes) return this.#fail(errno.EINVAL);
    this.#node = (this.#in.getUint32(20, true) * 0x1_0000_0000 + this.#in.getUint32(16, true)) as NodeId;
    try {
      return operation.handle(this, IN_HEADER, length);
    } catch (error) {
      this.#log.error(`${operation.name} failed`, { node: this.#node, error: String(error) });
      return this.#fail(errno.errnoOf(error));
    }
  }

  /** Writes an error reply to the request of the last `handle`, for instance when waiting was in vain. */
  fail(request: Bytes, reply: Bytes, error: number): number {
    reply.set(request.subarray(8, 16), 8);
    const out = new DataView(reply.buffer, reply.byteOffset, OUT_HEADER);
    out.setUint32(0, OUT_HEADER, true);
    out.setInt32(4, -error, true);
    return OUT_HEADER;
  }

  #later(answer: NotYet): number {
    this.need = answer.need;
    return LATER;
  }

  #fail(error: number): number {
    return this.#header(OUT_HEADER, -error);
  }

  #ok(bodyBytes: number): number {
    return this.#header(OUT_HEADER + bodyBytes, 0);
  }

  #header(length: number, error: number): number {
    const out = this.#out;
    out.setUint32(0, length, true);
    out.setInt32(4, error, true);
    out.setUint32(8, this.#in.getUint32(8, true), true);
    out.setUint32(12, this.#in.getUint32(12, true), true);
    return length;
  }

  // ---- operations, in the order of the table below ----

  init(body: number): number {
    const asked = abi.FuseInitIn.decode(this.#request, body);
    if (asked.major !== abi.FUSE_MAJOR || asked.minor < abi.FUSE_MINOR_MINIMUM)
      return this.#fail(errno.EINVAL);
    const wanted =
      abi.INIT_ASYNC_READ |
      abi.INIT_EXPORT_SUPPORT |
      abi.INIT_DO_READDIRPLUS |
      abi.INIT_NO_OPEN_SUPPORT |
      abi.INIT_PARALLEL_DIROPS |
      abi.INIT_MAX_PAGES |
      abi.INIT_CACHE_SYMLINKS |
      abi.INIT_NO_OPENDIR_SUPPORT;
    const granted = abi.FuseInitOut.encode({
      major: abi.FUSE_MAJOR,
      minor: Math.min(asked.minor, abi.FUSE_MINOR),
      maxReadahead: Math.max(asked.maxReadahead, MAX_READ_BYTES),
      flags: (asked.flags & wanted) >>> 0,
      maxBackground: 128,
      congestionThreshold: 96,
      maxWrite: PAGE_BYTES,
      timeGran: 1,
      maxPages: MAX_READ_BYTES / PAGE_BYTES,
    });
    this.#reply.set(granted, OUT_HEADER);
    return this.#ok(granted.length);
  }

  lookup(body: number, end: number): number {
    const found = this.#vfs.lookup(this.#node, this.#request.subarray(body, end - 1));
    if (found instanceof NotYet) return this.#later(found);
    this.#out.setUint32(OUT_HEADER, 0, true);
    if (found === undefined) {
      // Node 0 makes the absence itself cacheable.
      this.#reply.fill(0, OUT_HEADER, OUT_HEADER + ENTRY_OUT);
      this.#validity(OUT_HEADER + abi.FuseEntryOut.offsets.entryValid);
    } else {
      this.#entry(OUT_HEADER, found);
    }
    return this.#ok(ENTRY_OUT);
  }

  getattr(): number {
    const found = this.#vfs.getattr(this.#node);
    if (found === undefined) return this.#fail(errno.ESTALE);
    this.#validity(OUT_HEADER);
    this.#out.setUint32(OUT_HEADER + 8, 0, true);
    this.#out.setUint32(OUT_HEADER + 12, 0, true);
    this.#attributes(OUT_HEADER + ATTR_IN_ATTR_OUT, found);
    return this.#ok(ATTR_OUT);
  }

  readlink(): number {
    const target = this.#vfs.readlink(this.#node);
    if (target === undefined) return this.#fail(errno.EINVAL);
    return this.#byteString(target);
  }

  read(body: number): number {
    const size = Math.min(this.#in.getUint32(body + 16, true), MAX_READ_BYTES);
    const count = this.#vfs.read(this.#node, this.#offset(body), size, this.#reply, OUT_HEADER);
    return count instanceof NotYet ? this.#later(count) : this.#ok(count);
  }

  readdir(body: number, plus: boolean): number {
    const end = OUT_HEADER + Math.min(this.#in.getUint32(body + 16, true), MAX_READ_BYTES);
    let cookie = this.#offset(body);
    let at = OUT_HEADER;
    for (; cookie < COOKIES_OF_DOTS; cookie++) {
      const name = cookie === 0 ? DOT : DOTS;
      const next = this.#dirent(at, end, plus, undefined, name, 0, name.length, cookie + 1);
      if (next === 0) return this.#ok(at - OUT_HEADER);
      at = next;
    }
    const listed = this.#vfs.readdir(
      this.#node,
      cookie - COOKIES_OF_DOTS,
      (bytes, start, length, attributes, entryCookie) => {
        const next = this.#dirent(
          at,
          end,
          plus,
          attributes,
          bytes,
          start,
          length,
          entryCookie + COOKIES_OF_DOTS,
        );
        if (next !== 0) at = next;
        return next !== 0;
      },
    );
    if (listed instanceof NotYet) return this.#later(listed);
    if (!listed) return this.#fail(errno.ENOTDIR);
    return this.#ok(at - OUT_HEADER);
  }

  getxattr(body: number, end: number): number {
    if (this.#options.withoutXattrs) return this.#fail(errno.ENOSYS);
    const name = byteStringOf(this.#request, body + abi.FuseGetxattrIn.size, end - 1);
    const value = this.#vfs.getxattr(this.#node, name);
    if (value === undefined) return this.#fail(errno.ENODATA);
    return this.#sized(this.#in.getUint32(body, true), value.length, () =>
      this.#reply.set(value, OUT_HEADER),
    );
  }

  listxattr(body: number): number {
    if (this.#options.withoutXattrs) return this.#fail(errno.ENOSYS);
    const names = this.#vfs.listxattr(this.#node).map((name) => `${name}\0`);
    const list = names.join('') as ByteString;
    return this.#sized(this.#in.getUint32(body, true), list.length, () => this.#byteString(list));
  }

  statfs(): number {
    const { blockSizeBytes, blocks, files } = this.#vfs.statfs();
    const reply = abi.FuseKstatfs.encode({
      blocks: BigInt(blocks),
      files: BigInt(files),
      bsize: blockSizeBytes,
      frsize: blockSizeBytes,
      namelen: 255,
    });
    this.#reply.set(reply, OUT_HEADER);
    return this.#ok(reply.length);
  }

  fails(error: number): number {
    return this.#fail(error);
  }

  succeeds(): number {
    return this.#ok(0);
  }

  /** Who waits is known to the adapter alone. */
  interrupts(): number {
    this.need = undefined;
    return LATER;
  }

  // ---- parts of replies ----

  #offset(body: number): number {
    return this.#in.getUint32(body + 12, true) * 0x1_0000_0000 + this.#in.getUint32(body + 8, true);
  }

  /** Attributes of variable length: the length alone if the caller gave no room. */
  #sized(room: number, length: number, write: () => void): number {
    if (room === 0) {
      this.#out.setUint32(OUT_HEADER, length, true);
      this.#out.setUint32(OUT_HEADER + 4, 0, true);
      return this.#ok(abi.FuseGetxattrOut.size);
    }
    if (room < length) return this.#fail(errno.ERANGE);
    write();
    return this.#ok(length);
  }

  #byteString(value: ByteString): number {
    for (let i = 0; i < value.length; i++) this.#reply[OUT_HEADER + i] = value.charCodeAt(i);
    return this.#ok(value.length);
  }

  /** `entry_valid` and `attr_valid`, or `attr_valid` alone, are both written with seconds first. */
  #validity(at: number): void {
    this.#out.setUint32(at, this.#options.validSeconds, true);
    this.#out.setUint32(at + 4, 0, true);
  }

  #entry(at: number, attributes: Attributes): void {
    const out = this.#out;
    this.#setNumber(at, attributes.node);
    out.setUint32(at + 8, 0, true);
    out.setUint32(at + 12, 0, true);
    this.#validity(at + 16);
    this.#validity(at + 24);
    out.setUint32(at + 32, 0, true);
    out.setUint32(at + 36, 0, true);
    this.#attributes(at + ATTR_IN_ENTRY, attributes);
  }

  #attributes(at: number, attributes: Attributes): void {
    const out = this.#out;
    const size = attributes.sizeBytes;
    out.setUint32(at, attributes.inodeLow, true);
    out.setUint32(at + 4, attributes.inodeHigh, true);
    this.#setNumber(at + 8, size);
    this.#setNumber(at + 16, Math.ceil(size / 512));
    this.#setSeconds(at + 24, attributes.mtimeSeconds);
    this.#setSeconds(at + 32, attributes.mtimeSeconds);
    this.#setSeconds(at + 40, attributes.mtimeSeconds);
    out.setUint32(at + 48, attributes.mtimeNs, true);
    out.setUint32(at + 52, attributes.mtimeNs, true);
    out.setUint32(at + 56, attributes.mtimeNs, true);
    out.setUint32(at + 60, attributes.mode, true);
    out.setUint32(at + 64, attributes.linkCount, true);
    out.setUint32(at + 68, attributes.uid, true);
    out.setUint32(at + 72, attributes.gid, true);
    out.setUint32(at + 76, attributes.rdev, true);
    out.setUint32(at + 80, PAGE_BYTES, true);
    out.setUint32(at + 84, 0, true);
  }

  /**
   * Appends one directory entry and returns the offset behind it; 0 if there is no room. `.` and `..` have no attributes:
   * with node 0 the kernel leaves them alone.
   */
  #dirent(
    at: number,
    end: number,
    plus: boolean,
    attributes: Attributes | undefined,
    name: Bytes,
    nameStart: number,
    nameLength: number,
    cookie: number,
  ): number {
    const dirent = plus ? at + ENTRY_OUT : at;
    const unpadded = dirent + DIRENT + nameLength;
    const next = unpadded + ((8 - (unpadded & 7)) & 7);
    if (next > end) return 0;
    const out = this.#out;
    if (plus) {
      if (attributes === undefined) this.#reply.fill(0, at, dirent);
      else this.#entry(at, attributes);
    }
    out.setUint32(dirent, attributes?.inodeLow ?? 1, true);
    out.setUint32(dirent + 4, attributes?.inodeHigh ?? 0, true);
    this.#setNumber(dirent + 8, cookie);
    out.setUint32(dirent + 16, nameLength, true);
    out.setUint32(dirent + 20, ((attributes?.mode ?? S_IFDIR) & S_IFMT) >> 12, true);
    const reply = this.#reply;
    for (let i = 0; i < nameLength; i++) reply[dirent + DIRENT + i] = name[nameStart + i]!;
    for (let i = unpadded; i < next; i++) reply[i] = 0;
    return next;
  }

  #setNumber(at: number, value: number): void {
    this.#out.setUint32(at, value % 0x1_0000_0000, true);
    this.#out.setUint32(at + 4, value / 0x1_0000_0000, true);
  }

  #setSeconds(at: number, seconds: number): void {
    this.#out.setUint32(at, seconds, true);
    this.#out.setInt32(at + 4, Math.floor(seconds / 0x1_0000_0000), true);
  }
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
  [abi.FUSE_INIT, 'INIT', abi.FuseInitIn.size, (session, body) => session.init(body)],
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
  // Nodes are positions in catalogs: there is nothing to forget, open or release.
  [abi.FUSE_FORGET, 'FORGET', 0, nothing],
  [abi.FUSE_BATCH_FORGET, 'BATCH_FORGET', 0, nothing],
  [abi.FUSE_OPEN, 'OPEN', 0, neverAskAgain],
  [abi.FUSE_OPENDIR, 'OPENDIR', 0, neverAskAgain],
  [abi.FUSE_FLUSH, 'FLUSH', 0, neverAskAgain],
  [abi.FUSE_ACCESS, 'ACCESS', 0, neverAskAgain],
  [abi.FUSE_RELEASE, 'RELEASE', 0, done],
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
