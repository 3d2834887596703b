/**
 * Writes cpio archives in the `newc` format, as the Linux kernel unpacks them (Documentation/driver-api/early-userspace/
 * buffer-format.rst): 6 bytes magic, 13 fields of 8 hexadecimal digits, the name with a zero, the content; name and
 * content are padded to 4 bytes. Reproducible: owner 0:0, one time for everything, inode numbers in order.
 */

import type { Bytes } from '../core/bytes/byte-string.ts';
import { ByteWriter } from '../core/bytes/writer.ts';
import { ThimbleError } from '../core/errors.ts';
import { S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG } from '../core/vfs.ts';

const MAGIC = '070701';
/** Fields are 8 hexadecimal digits. */
const MAX_FIELD = 0xffff_ffff;
const TRAILER = 'TRAILER!!!';

/** Its methods throw LIMIT for times and sizes beyond 32 bits. */
export class CpioWriter {
  readonly #writer = new ByteWriter(1024 * 1024);
  readonly #mtimeSeconds: number;
  readonly #directories = new Set<string>();
  #inode = 1;

  constructor(mtimeSeconds: number) {
    this.#mtimeSeconds = mtimeSeconds;
  }

  /** Names have no leading slash. The kernel ignores files whose directory has no entry, so parents are added. */
  directory(name: string, mode = 0o755): this {
    if (name === '' || this.#directories.has(name)) return this;
    this.#parents(name);
    this.#directories.add(name);
    return this.#entry(name, S_IFDIR | mode, new Uint8Array(0));
  }

  file(name: string, content: Bytes, mode = 0o644): this {
    this.#parents(name);
    return this.#entry(name, S_IFREG | mode, content);
  }

  symlink(name: string, target: string): this {
    this.#parents(name);
    return this.#entry(name, S_IFLNK | 0o777, new ByteWriter().byteString(target).finish());
  }

  characterDevice(name: string, major: number, minor: number, mode = 0o600): this {
    this.#parents(name);
    return this.#entry(name, S_IFCHR | mode, new Uint8Array(0), major, minor);
  }

  /** The whole archive; nothing may be added after. */
  finish(): Bytes {
    this.#entry(TRAILER, 0, new Uint8Array(0));
    return this.#writer.align(512).finish();
  }

  #parents(name: string): void {
    const slash = name.lastIndexOf('/');
    if (slash > 0) this.directory(name.slice(0, slash));
  }

  #entry(name: string, mode: number, content: Bytes, major = 0, minor = 0): this {
    const isTrailer = name === TRAILER;
    const fields = [
      isTrailer ? 0 : this.#inode++,
      mode,
      0, // uid
      0, // gid
      1, // links
      isTrailer ? 0 : this.#mtimeSeconds,
      content.length,
      0, // device of the file system
      0,
      major,
      minor,
      name.length + 1,
      0, // checksum, not used by this format
    ];
    const unfit = fields.find((field) => !(field >= 0 && field <= MAX_FIELD));
    if (unfit !== undefined) {
      throw new ThimbleError('LIMIT', `Cannot write ${name} to a cpio archive: it has no room for ${unfit}`);
    }
    const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    this.#writer.byteString(header).byteString(`${name}\0`).align(4).bytes(content).align(4);
    return this;
  }
}
