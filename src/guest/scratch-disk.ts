/**
 * Which disk becomes scratch. A disk is formatted only if it carries Thimble's own blank marker or if the user named it;
 * anything else, known or not, is never written to.
 */

import { type Bytes, byteStringOf } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';

/** At the start of a disk that was made to be formatted. */
export const BLANK_MARKER = 'THIMBLE BLANK DISK 1\n';
export const SCRATCH_LABEL = 'THIMBLE';

/**
 * Enough to see a marker or the superblock of ext4, and to see that a marked disk has not been put to use since: partition
 * tables and most signatures lie before 36 KiB (RAID and swap at 4 KiB, ISO 9660 at 32 KiB), that of btrfs at 64 KiB.
 */
export const PROBE_BYTES = 128 * 1024;

// ext4 superblock at 1024 (Documentation/filesystems/ext4/super.rst): magic at 56, volume name at 120.
const EXT4_MAGIC_AT = 1024 + 56;
const EXT4_LABEL_AT = 1024 + 120;
const EXT4_LABEL_BYTES = 16;

export interface BlockDevice {
  /** Such as `vda` or `nvme0n1p1`. */
  readonly name: string;
  readonly readOnly: boolean;
  /** The first `PROBE_BYTES`; fewer if it is smaller or cannot be read. */
  readonly start: Bytes;
}

export type ScratchChoice =
  | { readonly kind: 'none' }
  | { readonly kind: 'use'; readonly name: string }
  | { readonly kind: 'format'; readonly name: string; readonly why: 'marker' | 'named' };

export function isScratch(device: BlockDevice): boolean {
  const { start } = device;
  if (start[EXT4_MAGIC_AT] !== 0x53 || start[EXT4_MAGIC_AT + 1] !== 0xef) return false;
  const label = byteStringOf(start, EXT4_LABEL_AT, EXT4_LABEL_AT + EXT4_LABEL_BYTES);
  return label.replace(/\0.*$/s, '') === SCRATCH_LABEL;
}

/** The marker and nothing else: who partitions a disk, for instance, may leave its first bytes as they were. */
export function isMarkedBlank({ start }: BlockDevice): boolean {
  const { length } = BLANK_MARKER;
  return (
    byteStringOf(start, 0, Math.min(length, start.length)) === BLANK_MARKER &&
    start.subarray(length).every((byte) => byte === 0)
  );
}

/** Throws USAGE when the user named a disk that is not there or cannot be written. */
export function chooseScratch(
  devices: readonly BlockDevice[],
  formatDevice: string | undefined,
): ScratchChoice {
  if (formatDevice !== undefined) {
    const name = formatDevice.replace(/^\/dev\//, '');
    const device = devices.find((candidate) => candidate.name === name);
    if (device === undefined || device.readOnly) {
      throw new ThimbleError(
        'USAGE',
        `Cannot format ${formatDevice}: ${device === undefined ? 'there is no such disk' : 'it is read-only'}`,
        {
          hint: `the disks of this machine are ${devices.map((candidate) => candidate.name).join(', ') || 'none'}`,
        },
      );
    }
    // Named once, kept ever after: a second boot with the same command line must not lose what the first one wrote.
    return isScratch(device) ? { kind: 'use', name } : { kind: 'format', name, why: 'named' };
  }
  const writable = devices.filter((device) => !device.readOnly);
  const scratch = writable.find(isScratch);
  if (scratch !== undefined) return { kind: 'use', name: scratch.name };
  const blank = writable.find(isMarkedBlank);
  return blank === undefined ? { kind: 'none' } : { kind: 'format', name: blank.name, why: 'marker' };
}
