import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ascii, type Bytes, bytesOf } from '../core/bytes/byte-string.ts';
import { ThimbleError } from '../core/errors.ts';
import {
  BLANK_MARKER,
  type BlockDevice,
  chooseScratch,
  isMarkedBlank,
  isScratch,
  PROBE_BYTES,
  type ScratchChoice,
} from './scratch-disk.ts';

type Patch = readonly [at: number, bytes: string];

/** The start of a disk that is zero but for some bytes. */
function start(...patches: readonly Patch[]): Bytes {
  const bytes = new Uint8Array(PROBE_BYTES);
  for (const [at, text] of patches) bytes.set(bytesOf(ascii(text)), at);
  return bytes;
}

const disk = (name: string, bytes: Bytes, readOnly = false): BlockDevice => ({
  name,
  readOnly,
  start: bytes,
});

// Offsets as the documentation of each format has them; those of ext4 are 1024 + 56 and 1024 + 120.
const EXT4: Patch = [1080, '\x53\xef'];
const label = (text: string): Patch => [1144, text];
const MARKER: Patch = [0, BLANK_MARKER];
const SCRATCH = start(EXT4, label('THIMBLE\0'));
const BLANK = start(MARKER);

/** Disks that hold something, and must never be formatted of Thimble's own accord. */
const FOREIGN: Readonly<Record<string, Bytes>> = {
  'all zeros': start(),
  'nothing that can be read': new Uint8Array(0),
  'ext4 with another label': start(EXT4, label('DATA')),
  'ext4 without a label': start(EXT4),
  'ext4 whose label begins with ours': start(EXT4, label('THIMBLE2')),
  'ext4 whose label is ours in lower case': start(EXT4, label('thimble')),
  'ext4 whose label ends with ours': start(EXT4, label('MY-THIMBLE')),
  'our label without ext4': start(label('THIMBLE')),
  'our label and half of the number of ext4': start([1080, '\x53'], label('THIMBLE')),
  'our label and the number of ext4 swapped': start([1080, '\xef\x53'], label('THIMBLE')),
  'XFS with our label': start([0, 'XFSB'], [108, 'THIMBLE']),
  'FAT with our label': start([0, '\xeb\x3c\x90mkfs.fat'], [43, 'THIMBLE    '], [510, '\x55\xaa']),
  'a partition table': start([446, '\x80\0\0\0\x83'], [510, '\x55\xaa']),
  'a GPT': start([510, '\x55\xaa'], [512, 'EFI PART']),
  LUKS: start([0, 'LUKS\xba\xbe\0\x02']),
  LVM: start([512, 'LABELONE'], [536, 'LVM2 001']),
  'the marker without its end': start([0, BLANK_MARKER.slice(0, -1)]),
  'the marker of another version': start([0, 'THIMBLE BLANK DISK 2\n']),
  'the marker in other letters': start([0, BLANK_MARKER.toLowerCase()]),
  'the marker one byte late': start([1, BLANK_MARKER]),
  'the marker at the second sector': start([512, BLANK_MARKER]),
  'the marker cut off': bytesOf(ascii(BLANK_MARKER.slice(0, 10))),
  'the marker as the first line of a text': start([0, `${BLANK_MARKER}is what such disks begin with`]),
  'the marker, partitioned since': start(MARKER, [446, '\0\0\0\0\xee'], [510, '\x55\xaa'], [512, 'EFI PART']),
  'the marker before an ext4 of somebody else': start(MARKER, EXT4, label('DATA')),
  'the marker before a swap area': start(MARKER, [4086, 'SWAPSPACE2']),
  'the marker before a RAID member': start(MARKER, [4096, '\xfc\x4e\x2b\xa9']),
  'the marker before an ISO 9660': start(MARKER, [32_769, 'CD001']),
  'the marker before a btrfs': start(MARKER, [65_600, '_BHRfS_M']),
};

describe('chooseScratch() without a named disk', () => {
  for (const [what, bytes] of Object.entries(FOREIGN)) {
    test(`chooseScratch() leaves a disk alone that has ${what}`, () => {
      assert.deepEqual(chooseScratch([disk('vda', bytes)], undefined), { kind: 'none' });
    });
  }

  const cases: readonly [what: string, devices: readonly BlockDevice[], expected: ScratchChoice][] = [
    ['finds nothing where there are no disks', [], { kind: 'none' }],
    ['uses ext4 with our label', [disk('vdb', SCRATCH)], { kind: 'use', name: 'vdb' }],
    [
      'uses ext4 whose label has something behind its end',
      [disk('vdb', start(EXT4, label('THIMBLE\0junk')))],
      { kind: 'use', name: 'vdb' },
    ],
    ['formats a marked disk', [disk('vda', BLANK)], { kind: 'format', name: 'vda', why: 'marker' }],
    [
      'formats a marked disk that is smaller than the probe',
      [disk('vda', BLANK.subarray(0, 4096))],
      { kind: 'format', name: 'vda', why: 'marker' },
    ],
    [
      'prefers ext4 with our label to a marked disk',
      [disk('vda', BLANK), disk('vdb', SCRATCH)],
      { kind: 'use', name: 'vdb' },
    ],
    [
      'takes the first of several marked disks',
      [disk('sda', start()), disk('sdb', BLANK), disk('sdc', BLANK)],
      { kind: 'format', name: 'sdb', why: 'marker' },
    ],
    [
      'takes the first of several with our label',
      [disk('sda', SCRATCH), disk('sdb', SCRATCH)],
      { kind: 'use', name: 'sda' },
    ],
    ['formats no read-only disk', [disk('vda', BLANK, true)], { kind: 'none' }],
    ['uses no read-only disk', [disk('vda', SCRATCH, true)], { kind: 'none' }],
    [
      'finds the one among disks of others',
      Object.values(FOREIGN)
        .map((bytes, index) => disk(`sd${index}`, bytes))
        .concat(disk('vda', BLANK)),
      { kind: 'format', name: 'vda', why: 'marker' },
    ],
  ];
  for (const [what, devices, expected] of cases) {
    test(`chooseScratch() ${what}`, () => {
      assert.deepEqual(chooseScratch(devices, undefined), expected);
    });
  }
});

describe('chooseScratch() with a named disk', () => {
  const other = disk('vda', SCRATCH);

  for (const given of ['/dev/vdb', 'vdb']) {
    test(`chooseScratch() formats the disk that was named ${given}, whatever is on it`, () => {
      for (const bytes of [start(), ...Object.values(FOREIGN)]) {
        assert.deepEqual(chooseScratch([other, disk('vdb', bytes)], given), {
          kind: 'format',
          name: 'vdb',
          why: 'named',
        });
      }
    });
  }

  test('chooseScratch() keeps what an earlier boot has made of the named disk', () => {
    const devices = [other, disk('vdb', SCRATCH)];
    assert.deepEqual(chooseScratch(devices, '/dev/vdb'), { kind: 'use', name: 'vdb' });
  });

  const refused: readonly [named: string, message: RegExp][] = [
    ['/dev/vdz', /no such disk/],
    ['/dev/sr0', /it is read-only/],
    ['', /no such disk/],
    ['/dev/disk/by-id/vdb', /no such disk/],
    ['vd', /no such disk/],
    ['/dev/', /no such disk/],
  ];
  for (const [named, message] of refused) {
    test(`chooseScratch() refuses ${JSON.stringify(named)} with USAGE and tells what disks there are`, () => {
      const devices = [disk('vdb', BLANK), disk('sr0', BLANK, true)];
      assert.throws(
        () => chooseScratch(devices, named),
        (error) => {
          assert.ok(error instanceof ThimbleError);
          assert.equal(error.code, 'USAGE');
          assert.match(error.message, message);
          assert.match(error.hint ?? '', /vdb, sr0/);
          return true;
        },
      );
    });
  }
});

describe('properties of chooseScratch()', () => {
  test('chooseScratch() formats nothing that a byte too many or too few tells from a marked disk', () => {
    fc.assert(
      fc.property(fc.nat(PROBE_BYTES - 1), fc.integer({ min: 1, max: 255 }), (at, difference) => {
        const bytes = BLANK.slice();
        bytes[at]! ^= difference;
        assert.ok(!isMarkedBlank(disk('vda', bytes)));
        assert.equal(chooseScratch([disk('vda', bytes)], undefined).kind, 'none');
      }),
    );
  });

  test('chooseScratch() formats nothing whose start is random', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2048 }), (bytes) => {
        assert.ok(!isScratch(disk('vda', bytes)));
        assert.deepEqual(chooseScratch([disk('vda', bytes)], undefined), { kind: 'none' });
      }),
    );
  });
});
