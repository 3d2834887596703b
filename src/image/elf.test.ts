import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { elfNeeds, isElf, stripElf } from './elf.ts';

const LOAD = 1;
const DYNAMIC = 2;
const INTERP = 3;
const NEEDED = 1n;
const STRTAB = 5n;
/** Where the sample is loaded. */
const BASE = 0x40_0000;
const LOADED_BYTES = 0x200;
const FILE_BYTES = 0x280;

/** A program with one loaded segment, two libraries, and a section table that is not loaded. */
function sample(): Buffer {
  const file = Buffer.alloc(FILE_BYTES);
  file.write('\x7fELF\x02\x01\x01', 'latin1'); // 64 bits, little-endian, version 1
  file.writeUInt16LE(2, 16); // executable
  file.writeBigUInt64LE(64n, 32); // program headers
  file.writeBigUInt64LE(BigInt(LOADED_BYTES), 40); // section headers
  file.writeUInt16LE(64, 52);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(3, 56);
  file.writeUInt16LE(64, 58);
  file.writeUInt16LE(2, 60); // sections
  file.writeUInt16LE(1, 62); // names of sections
  const segments = [
    { type: LOAD, offset: 0, bytes: LOADED_BYTES },
    { type: INTERP, offset: 0x100, bytes: 7 },
    { type: DYNAMIC, offset: 0x140, bytes: 5 * 16 },
  ];
  for (const [index, { type, offset, bytes }] of segments.entries()) {
    const at = 64 + index * 56;
    file.writeUInt32LE(type, at);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(BigInt(BASE + offset), at + 16);
    file.writeBigUInt64LE(BigInt(bytes), at + 32);
    file.writeBigUInt64LE(BigInt(bytes), at + 40);
  }
  file.write('/lib/ld\0', 0x100, 'latin1');
  const dynamic: [bigint, bigint][] = [
    [NEEDED, 1n],
    [STRTAB, BigInt(BASE + 0x1a0)],
    [NEEDED, 9n],
    [0n, 0n],
    [NEEDED, 0n], // behind the end
  ];
  for (const [index, [tag, value]] of dynamic.entries()) {
    file.writeBigUInt64LE(tag, 0x140 + index * 16);
    file.writeBigUInt64LE(value, 0x140 + index * 16 + 8);
  }
  file.write('\0libc.so\0libm.so\0', 0x1a0, 'latin1');
  file.fill(0xee, LOADED_BYTES);
  return file;
}

const changed = (change: (file: Buffer) => void) => {
  const file = sample();
  change(file);
  return file;
};

const failsWith =
  (...codes: string[]) =>
  (error: unknown) => {
    assert.ok(error instanceof ThimbleError, `not one of our errors: ${error}`);
    assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
    return true;
  };

describe('elfNeeds()', () => {
  test('elfNeeds() reads interpreter and libraries, up to the end of the dynamic section', () => {
    assert.deepEqual(elfNeeds(sample()), { interpreter: '/lib/ld', libraries: ['libc.so', 'libm.so'] });
  });

  test('elfNeeds() finds nothing in a static program', () => {
    const file = changed((bytes) => bytes.writeUInt16LE(1, 56));
    assert.deepEqual(elfNeeds(file), { interpreter: undefined, libraries: [] });
  });

  test('elfNeeds() finds what this engine and its libraries need on this machine', () => {
    const { interpreter, libraries } = elfNeeds(readFileSync(process.execPath));
    assert.ok(interpreter !== undefined && existsSync(interpreter), String(interpreter));
    assert.ok(libraries.includes('libc.so.6'), libraries.join());
    const loader = elfNeeds(readFileSync(interpreter));
    assert.deepEqual(loader, { interpreter: undefined, libraries: [] });
  });

  const refused: readonly [what: string, file: Uint8Array][] = [
    ['no bytes', new Uint8Array(0)],
    ['a script', Buffer.from('#!/bin/sh\n'.repeat(10))],
    ['a cut header', sample().subarray(0, 63)],
    ['a 32-bit program', changed((file) => file.writeUInt8(1, 4))],
    ['a big-endian program', changed((file) => file.writeUInt8(2, 5))],
    ['program headers of another size', changed((file) => file.writeUInt16LE(32, 54))],
    ['cut program headers', sample().subarray(0, 64 + 3 * 56 - 1)],
    ['program headers behind the end', changed((file) => file.writeBigUInt64LE(0xffffn, 32))],
    ['an interpreter without an end', changed((file) => file.fill(1, 0x100))],
    ['a string table that is not loaded', changed((file) => file.writeBigUInt64LE(9n, 0x140 + 24))],
    ['a library name behind the end', changed((file) => file.writeBigUInt64LE(0xffffn, 0x140 + 8))],
  ];
  for (const [what, file] of refused) {
    test(`elfNeeds() refuses ${what} with FORMAT`, () => {
      assert.throws(() => elfNeeds(file), failsWith('FORMAT'));
    });
  }

  test('elfNeeds() refuses offsets beyond 2^53 with LIMIT', () => {
    const file = changed((bytes) => bytes.writeBigUInt64LE(1n << 60n, 32));
    assert.throws(() => elfNeeds(file), failsWith('LIMIT'));
  });
});

describe('stripElf()', () => {
  test('stripElf() drops what is not loaded, and the section headers with it', () => {
    const stripped = stripElf(sample());
    const expected = sample().subarray(0, LOADED_BYTES);
    expected.fill(0, 40, 48);
    expected.fill(0, 60, 64);
    assert.deepEqual(Buffer.from(stripped), expected);
  });

  test('stripElf() leaves its input as it is', () => {
    const file = sample();
    stripElf(file);
    assert.deepEqual(file, sample());
  });

  test('stripElf() changes nothing in what is stripped already', () => {
    const once = stripElf(sample());
    assert.deepEqual(stripElf(once), once);
  });

  const refused: readonly [what: string, file: Uint8Array][] = [
    ['a file of which nothing is loaded', changed((file) => file.writeUInt32LE(INTERP, 64))],
    [
      'a file of which less than its header is loaded',
      changed((file) => file.writeBigUInt64LE(10n, 64 + 32)),
    ],
    ['a file that ends before what is loaded', sample().subarray(0, LOADED_BYTES - 1)],
  ];
  for (const [what, file] of refused) {
    test(`stripElf() refuses ${what} with FORMAT`, () => {
      assert.throws(() => stripElf(file), failsWith('FORMAT'));
    });
  }

  for (const [program, args] of [
    ['/bin/cat', ['/proc/self/comm']],
    [process.execPath, ['-p', '6 * 7']],
  ] as const) {
    test(`stripElf() keeps ${program.replace(/.*\//, '')} running`, (t) => {
      const original = readFileSync(program);
      const stripped = stripElf(original);
      assert.ok(stripped.length < original.length);
      assert.deepEqual(elfNeeds(stripped), elfNeeds(original));
      const path = join(scratchFolder(t), 'stripped');
      writeFileSync(path, stripped);
      chmodSync(path, 0o755);
      const output = execFileSync(path, args, { encoding: 'utf8' });
      assert.equal(output, program === process.execPath ? '42\n' : 'stripped\n');
    });
  }
});

describe('properties of ELF decoding', () => {
  test('isElf() looks at the first four bytes alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 8 }), (bytes) => {
        assert.equal(isElf(bytes), Buffer.from(bytes.subarray(0, 4)).equals(Buffer.from('\x7fELF')));
      }),
    );
    assert.ok(isElf(Buffer.from('\x7fELF')));
  });

  function endsWell(file: Uint8Array): void {
    for (const decode of [elfNeeds, stripElf]) {
      try {
        decode(file);
      } catch (error) {
        failsWith('FORMAT', 'LIMIT')(error);
      }
    }
  }

  test('elfNeeds() and stripElf() decode a damaged program, or refuse it with a code', () => {
    const mutation = fc.tuple(fc.nat(0x1c0), fc.nat(255));
    fc.assert(
      fc.property(
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        fc.nat(FILE_BYTES),
        (mutations, cut) => {
          const file = sample();
          for (const [at, value] of mutations) file[at] = value;
          endsWell(file);
          endsWell(file.subarray(0, cut));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('elfNeeds() refuses a name that is longer than any stack, or reads it', () => {
    const file = Buffer.concat([sample(), Buffer.alloc(1_000_000, 'x'), Buffer.alloc(1)]);
    file.writeBigUInt64LE(BigInt(FILE_BYTES), 64 + 56 + 8);
    assert.equal(elfNeeds(file).interpreter?.length, 1_000_000);
  });
});
