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
import { MAX_READ_BYTES, type Negotiated, negotiate, PAGE_BYTES, writeInitReply } from './negotiation.ts';

import { OPERATIONS } from './operations.ts';
import { type Ownership, shownGid, shownMode, shownUid } from './ownership.ts';
import { hasPassthrough, type OpenedFile, type Passthrough, type RequestId } from './passthrough.ts';

/** `handle` answers with the length of the reply, or one of these. */
export const NO_REPLY = 0;
export const LATER = -1;

/** The kernel refuses to hand requests to a smaller buffer: 8 KiB, or `maxWrite` and headers. */
export const REQUEST_BUFFER_BYTES = 64 * 1024;
export const OPCODES_COUNTED = 64;
export const REPLY_BUFFER_BYTES = abi.FuseOutHeader.size + MAX_READ_BYTES;

const MAX_NAME_BYTES = 255;
const MAX_TARGET_BYTES = PAGE_BYTES - 1;
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
  /** How long the kernel may keep names and attributes, to begin with. A pinned snapshot never changes: years. */
  readonly validSeconds: number;
  /** The outcome of INIT, for a file system that somebody else has served before. */
  readonly negotiated?: Negotiated | undefined;
  /** Where requests are counted by opcode, `OPCODES_COUNTED` of them; for instance in shared memory. */
  readonly counts?: Float64Array;
  /**
   * Answer ENOSYS to GETXATTR, after which the kernel never asks again. Faster below an overlay, but file capabilities
   * and all other attributes are gone.
   */
  readonly withoutXattrs?: boolean;
  /**
   * Files that ask for it are read past the page cache. Costs a request for every file that is opened: otherwise OPEN is
   * answered with ENOSYS once, after which the kernel never asks again (docs/adr/0009-direct-io.md).
   */
  readonly directIo?: boolean;
  /**
   * Attributes that no catalog has. `elsewhere` answers LATER where they might be meant, with `ELSEWHERE` as the need: for
   * a session that shares its file system with one that knows them.
   */
  readonly magicXattrs?: MagicXattrs | { readonly elsewhere: MagicXattrs['listed'] } | undefined;
  /** Whom files belong to, if not to whom they were published for. */
  readonly ownership?: Ownership | undefined;
  /**
   * Files that the kernel reads by itself (docs/adr/0016-passthrough.md). Costs a request for every file that is opened, as
   * `directIo` does. `elsewhere` answers LATER for files from so many bytes on, with `ELSEWHERE` as the need.
   */
  readonly passthrough?: Passthrough | { readonly elsewhere: number } | undefined;
  readonly log?: Log;
}

/** Extended attributes that are worked out when they are asked for: `user.*` and `xfsroot.*`. */
export interface MagicXattrs {
  /** Where LISTXATTR tells of them. GETXATTR answers everywhere. */
  readonly listed: 'root' | 'everywhere' | 'nowhere';
  /** `ELSEWHERE`: ask again when what `prepare` answers with is done. */
  get(node: NodeId, name: ByteString): Bytes | undefined | NotYet | typeof ELSEWHERE;
  /** Brings what `get` was missing; `undefined` where that is nothing. Never rejects. */
  prepare?(): Promise<void> | undefined;
  list(node: NodeId): readonly ByteString[];
}

/** The need of a request that another session has to answer. */
export const ELSEWHERE = 'elsewhere';

export class FuseSession {
  readonly #vfs: Vfs;
  readonly #options: SessionOptions;
  readonly #log: Log;
  #request: Bytes = new Uint8Array(0);
  #reply: Bytes = new Uint8Array(0);
  // The same bytes as 32-bit words: every field of the protocol is aligned. Far faster than a DataView until the code is
  // optimised, which for a short-lived mount it may never be.
  #in: Uint32Array = new Uint32Array(0);
  #out: Uint32Array = new Uint32Array(0);
  #node: NodeId = ROOT_NODE;
  /** What the request waits for that was answered with LATER; `undefined` for INTERRUPT. */
  need: Need | typeof ELSEWHERE | undefined;
  /** Hears of every read from the start of a file that is answered. */
  onFirstRead: ((node: NodeId) => void) | undefined;
  /** How long the kernel may keep the names and attributes of the replies to come. */
  validSeconds: number;
  /** The outcome of INIT; `undefined` before it. */
  negotiated: Negotiated | undefined;
  /** Requests handled, by opcode. */
  readonly counts: Float64Array;

  constructor(vfs: Vfs, options: SessionOptions) {
    this.#vfs = vfs;
    this.#options = options;
    this.validSeconds = options.validSeconds;
    this.negotiated = options.negotiated;
    this.counts = options.counts ?? new Float64Array(OPCODES_COUNTED);
    this.#log = options.log ?? silentLog;
  }

  /**
   * Handles the request of `length` bytes in `request` and writes the reply into `reply`. Both start at a multiple of 4
   * in their memory, and the same two should be passed again and again. Never throws: what goes wrong becomes an error
   * reply and a line in the log.
   */
  handle(request: Bytes, length: number, reply: Bytes): number {
    if (request !== this.#request) {
      this.#request = request;
      this.#in = new Uint32Array(request.buffer, request.byteOffset, request.byteLength >> 2);
    }
    if (reply !== this.#reply) {
      this.#reply = reply;
      this.#out = new Uint32Array(reply.buffer, reply.byteOffset, reply.byteLength >> 2);
    }
    if (length < IN_HEADER) return NO_REPLY;
    const opcode = this.#in[1]!;
    const operation = OPERATIONS[opcode];
    if (opcode < this.counts.length) this.counts[opcode]!++;
    if (operation === undefined) return this.#fail(errno.ENOSYS);
    if (length < IN_HEADER + operation.bodyBytes) return this.#fail(errno.EINVAL);
    this.#node = (this.#in[5]! * 0x1_0000_0000 + this.#in[4]!) as NodeId;
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

  #later(answer: NotYet | typeof ELSEWHERE): number {
    this.need = answer === ELSEWHERE ? ELSEWHERE : answer.need;
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
    out[0] = length;
    out[1] = error;
    out[2] = this.#in[2]!;
    out[3] = this.#in[3]!;
    return length;
  }

  // ---- operations, in the order of the table below ----

  init(body: number, end: number): number {
    const wanted2 = this.#options.passthrough === undefined ? 0 : abi.INIT2_PASSTHROUGH;
    const negotiated = negotiate(this.#request, body, end, wanted2);
    if (negotiated === undefined) return this.#fail(errno.EINVAL);
    this.negotiated = negotiated;
    const granted = writeInitReply(negotiated, this.#in[(body + 8) >> 2]!);
    this.#reply.set(granted, OUT_HEADER);
    return this.#ok(granted.length);
  }

  lookup(body: number, end: number): number {
    // The kernel lets longer ones through.
    if (end - 1 - body > MAX_NAME_BYTES) return this.#fail(errno.ENAMETOOLONG);
    const found = this.#vfs.lookup(this.#node, this.#request.subarray(body, end - 1));
    if (found instanceof NotYet) return this.#later(found);
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
    this.#out[(OUT_HEADER >> 2) + 2] = 0;
    this.#out[(OUT_HEADER >> 2) + 3] = 0;
    this.#attributes(OUT_HEADER + ATTR_IN_ATTR_OUT, found);
    return this.#ok(ATTR_OUT);
  }

  readlink(): number {
    const target = this.#vfs.readlink(this.#node);
    if (target === undefined) return this.#fail(errno.EINVAL);
    // The kernel has room for this much, and refuses the whole reply if it is longer.
    if (target.length > MAX_TARGET_BYTES) return this.#fail(errno.ENAMETOOLONG);
    return this.#byteString(target);
  }

  open(): number {
    const { directIo, passthrough } = this.#options;
    const passes = passthrough !== undefined && hasPassthrough(this.negotiated);
    if (!directIo && !passes) return this.#fail(errno.ENOSYS);
    if (directIo && this.#vfs.readsDirectly(this.#node)) return this.#opened(abi.FOPEN_DIRECT_IO);
    if (!passes) return this.#opened(abi.FOPEN_KEEP_CACHE);
    if (!('elsewhere' in passthrough)) {
      const file = passthrough.open(this.#node, this.#requestId());
      if (file === undefined && !directIo) return this.#fail(errno.ENOSYS);
      return this.#opened(file?.backingId ? abi.FOPEN_PASSTHROUGH : abi.FOPEN_KEEP_CACHE, file);
    }
    const sizeBytes = this.#vfs.getattr(this.#node)?.sizeBytes ?? 0;
    return sizeBytes < passthrough.elsewhere ? this.#opened(abi.FOPEN_KEEP_CACHE) : this.#later(ELSEWHERE);
  }

  release(body: number): number {
    const { passthrough } = this.#options;
    const handle = this.#in[body >> 2]!;
    if (passthrough === undefined || handle === 0) return this.#ok(0);
    if ('elsewhere' in passthrough) return this.#later(ELSEWHERE);
    passthrough.close(handle, this.#requestId());
    return this.#ok(0);
  }

  read(body: number): number {
    const size = Math.min(this.#in[(body + 16) >> 2]!, MAX_READ_BYTES);
    const offset = this.#offset(body);
    const count = this.#vfs.read(this.#node, offset, size, this.#reply, OUT_HEADER);
    if (count instanceof NotYet) return this.#later(count);
    if (offset === 0) this.onFirstRead?.(this.#node);
    return this.#ok(count);
  }

  readdir(body: number, plus: boolean): number {
    const end = OUT_HEADER + Math.min(this.#in[(body + 16) >> 2]!, MAX_READ_BYTES);
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
    const stored = this.#vfs.getxattr(this.#node, name);
    const value = stored === undefined && isMagicName(name) ? this.#magicXattr(name) : stored;
    if (value === undefined) return this.#fail(errno.ENODATA);
    if (value === ELSEWHERE || value instanceof NotYet) return this.#later(value);
    return this.#sized(this.#in[body >> 2]!, value.length, () => this.#reply.set(value, OUT_HEADER));
  }

  listxattr(body: number): number {
    if (this.#options.withoutXattrs) return this.#fail(errno.ENOSYS);
    const magic = this.#magicNames();
    if (magic === ELSEWHERE) return this.#later(magic);
    const names = [...this.#vfs.listxattr(this.#node), ...magic].map((name) => `${name}\0`);
    const list = names.join('') as ByteString;
    return this.#sized(this.#in[body >> 2]!, list.length, () => this.#byteString(list));
  }

  #magicXattr(name: ByteString): Bytes | undefined | NotYet | typeof ELSEWHERE {
    const magic = this.#options.magicXattrs;
    if (magic === undefined) return undefined;
    return 'elsewhere' in magic ? ELSEWHERE : magic.get(this.#node, name);
  }

  #magicNames(): readonly ByteString[] | typeof ELSEWHERE {
    const magic = this.#options.magicXattrs;
    if (magic === undefined) return [];
    const listed = 'elsewhere' in magic ? magic.elsewhere : magic.listed;
    if (listed === 'nowhere' || (listed === 'root' && this.#node !== ROOT_NODE)) return [];
    return 'elsewhere' in magic ? ELSEWHERE : magic.list(this.#node);
  }

  statfs(): number {
    const { blockSizeBytes, blocks, files } = this.#vfs.statfs();
    const reply = abi.FuseKstatfs.encode({
      blocks: BigInt(blocks),
      files: BigInt(files),
      bsize: blockSizeBytes,
      frsize: blockSizeBytes,
      namelen: MAX_NAME_BYTES,
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
    const at = (body + 8) >> 2;
    return this.#in[at + 1]! * 0x1_0000_0000 + this.#in[at]!;
  }

  /** Attributes of variable length: the length alone if the caller gave no room. */
  #sized(room: number, length: number, write: () => void): number {
    if (room === 0) {
      this.#out[OUT_HEADER >> 2] = length;
      this.#out[(OUT_HEADER >> 2) + 1] = 0;
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

  #requestId(): RequestId {
    const high = this.#in[3]!;
    const isRepeated = high >= abi.UNIQUE_RESENT_HIGH;
    const unique = (isRepeated ? high - abi.UNIQUE_RESENT_HIGH : high) * 0x1_0000_0000 + this.#in[2]!;
    return { unique, isRepeated };
  }

  #opened(flags: number, file?: OpenedFile): number {
    const out = this.#out;
    const word = OUT_HEADER >> 2;
    out[word] = file?.handle ?? 0;
    out[word + 1] = 0;
    out[word + 2] = flags | abi.FOPEN_NOFLUSH;
    out[word + 3] = file?.backingId ?? 0;
    return this.#ok(abi.FuseOpenOut.size);
  }

  /** `entry_valid` and `attr_valid`, or `attr_valid` alone, are both written with seconds first. */
  #validity(at: number): void {
    this.#out[at >> 2] = this.validSeconds;
    this.#out[(at >> 2) + 1] = 0;
  }

  #entry(at: number, attributes: Attributes): void {
    const out = this.#out;
    const word = at >> 2;
    const { node } = attributes;
    out[word] = node % 0x1_0000_0000;
    out[word + 1] = node / 0x1_0000_0000;
    out[word + 2] = 0; // generation
    out[word + 3] = 0;
    out[word + 4] = this.validSeconds;
    out[word + 5] = 0;
    out[word + 6] = this.validSeconds;
    out[word + 7] = 0;
    out[word + 8] = 0;
    out[word + 9] = 0;
    this.#attributes(at + ATTR_IN_ENTRY, attributes);
  }

  #attributes(at: number, attributes: Attributes): void {
    const out = this.#out;
    const word = at >> 2;
    const { sizeBytes, mtimeSeconds, mtimeNs } = attributes;
    const blocks = Math.ceil(sizeBytes / 512);
    // Stored modulo 2^32; the upper half of a negative time is negative too.
    const secondsHigh = Math.floor(mtimeSeconds / 0x1_0000_0000);
    out[word] = attributes.inodeLow;
    out[word + 1] = attributes.inodeHigh;
    out[word + 2] = sizeBytes % 0x1_0000_0000;
    out[word + 3] = sizeBytes / 0x1_0000_0000;
    out[word + 4] = blocks % 0x1_0000_0000;
    out[word + 5] = blocks / 0x1_0000_0000;
    out[word + 6] = mtimeSeconds; // atime
    out[word + 7] = secondsHigh;
    out[word + 8] = mtimeSeconds;
    out[word + 9] = secondsHigh;
    out[word + 10] = mtimeSeconds; // ctime
    out[word + 11] = secondsHigh;
    out[word + 12] = mtimeNs;
    out[word + 13] = mtimeNs;
    out[word + 14] = mtimeNs;
    const { ownership } = this.#options;
    out[word + 15] = ownership ? shownMode(ownership, attributes.mode) : attributes.mode;
    out[word + 16] = attributes.linkCount;
    out[word + 17] = ownership ? shownUid(ownership, attributes.uid) : attributes.uid;
    out[word + 18] = ownership ? shownGid(ownership, attributes.gid) : attributes.gid;
    out[word + 19] = attributes.rdev;
    out[word + 20] = PAGE_BYTES;
    out[word + 21] = 0;
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
    if (plus) {
      if (attributes === undefined) this.#reply.fill(0, at, dirent);
      else this.#entry(at, attributes);
    }
    const out = this.#out;
    const word = dirent >> 2;
    out[word] = attributes === undefined ? ROOT_NODE : attributes.inodeLow;
    out[word + 1] = attributes === undefined ? 0 : attributes.inodeHigh;
    out[word + 2] = cookie % 0x1_0000_0000;
    out[word + 3] = cookie / 0x1_0000_0000;
    out[word + 4] = nameLength;
    out[word + 5] = ((attributes === undefined ? S_IFDIR : attributes.mode) & S_IFMT) >> 12;
    const reply = this.#reply;
    const nameAt = dirent + DIRENT;
    for (let i = 0; i < nameLength; i++) reply[nameAt + i] = name[nameStart + i]!;
    for (let i = unpadded; i < next; i++) reply[i] = 0;
    return next;
  }
}

/** overlayfs asks for its own on every lookup, when it keeps them under `user.`; those are never magic. */
function isMagicName(name: ByteString): boolean {
  return (name.startsWith('user.') && !name.startsWith('user.overlay.')) || name.startsWith('xfsroot.');
}
