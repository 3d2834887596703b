import assert from 'node:assert/strict';
import test from 'node:test';
import { ascii, bytesOf } from '../core/bytes/byte-string.ts';
import type { NodeId } from '../core/vfs.ts';
import {
  encodeIncrementEpoch,
  encodeInvalidateEntry,
  encodeInvalidateInode,
  encodeResend,
} from './notifications.ts';

// Header of 16 bytes: length, code, unique 0; then the body as the kernel reads it.
const CASES = {
  'a name': [
    encodeInvalidateEntry((2 ** 32 + 5) as NodeId, bytesOf(ascii('ab')), false),
    '23000000 03000000 0000000000000000 0500000001000000 02000000 00000000 616200',
  ],
  'a name that is only to be asked for again': [
    encodeInvalidateEntry(1 as NodeId, bytesOf(ascii('a')), true),
    '22000000 03000000 0000000000000000 0100000000000000 01000000 01000000 6100',
  ],
  'an inode': [
    encodeInvalidateInode(6 as NodeId),
    '28000000 02000000 0000000000000000 0600000000000000 0000000000000000 0000000000000000',
  ],
  'the epoch': [encodeIncrementEpoch(), '10000000 08000000 0000000000000000'],
  'unanswered requests': [encodeResend(), '10000000 07000000 0000000000000000'],
} as const;

for (const [what, [bytes, expected]] of Object.entries(CASES)) {
  test(`a notification about ${what} has the bytes that the kernel reads`, () => {
    assert.equal(Buffer.from(bytes).toString('hex'), expected.replaceAll(' ', ''));
  });
}
