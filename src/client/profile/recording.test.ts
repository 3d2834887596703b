import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContentHash } from '../../core/content-hash.ts';
import { ThimbleError } from '../../core/errors.ts';
import { formatRecording, parseAccessLog, parseRecording, type Recording } from './recording.ts';

const A = 'a'.repeat(40) as ContentHash;
const B = `${'b'.repeat(40)}-shake128` as ContentHash;
const RECORDING: Recording = {
  fqrn: 'os.example.org',
  rootCatalog: A,
  objects: [
    { hash: A, isCatalog: true },
    { hash: B, isCatalog: false },
    { hash: B, isCatalog: true },
  ],
};

test('recordings read back as they were written', () => {
  assert.deepEqual(parseRecording(formatRecording(RECORDING)), RECORDING);
  const fromServer = { ...RECORDING, rootCatalog: undefined };
  assert.deepEqual(parseRecording(formatRecording(fromServer)), fromServer);
});

test('an object counts when it comes first', () => {
  const { objects } = parseRecording(`${formatRecording(RECORDING)}${A}C\n${A}\n`);
  assert.deepEqual(objects, [...RECORDING.objects, { hash: A, isCatalog: false }]);
});

for (const [what, text] of [
  ['another text', 'hello\n'],
  ['a root that is none', 'thimble recording 1\nrepository os.example.org\nroot x\n'],
  ['a missing root', 'thimble recording 1\nrepository os.example.org\n'],
  ['a line that is no object', `${formatRecording(RECORDING)}data/aa/bb\n`],
  ['an object of another type', `${formatRecording(RECORDING)}${A}X\n`],
] as const) {
  test(`parseRecording() refuses ${what}`, () => {
    assert.throws(
      () => parseRecording(text),
      (error) => error instanceof ThimbleError && error.code === 'FORMAT',
    );
  });
}

test('an access log has objects in the order of first requests, whatever server wrote it', () => {
  const path = (hash: string, type = '') =>
    `/cvmfs/os.example.org/data/${hash.slice(0, 2)}/${hash.slice(2)}${type}`;
  const log = [
    `{"level":30,"method":"GET","url":"/cvmfs/os.example.org/.cvmfspublished","status":200}`,
    `{"level":30,"method":"HEAD","url":"${path('c'.repeat(40))}","status":200}`,
    `{"level":30,"method":"GET","url":"${path(A, 'X')}","status":200}`,
    `{"level":30,"method":"GET","url":"${path(A, 'C')}","status":200}`,
    `10.0.0.1 - - [23/Nov/2026:00:00:00 +0000] "GET ${path(B, 'P')} HTTP/1.1" 206 1234 "-" "thimble"`,
    `10.0.0.1 - - [23/Nov/2026:00:00:00 +0000] "GET ${path(A, 'C')} HTTP/1.1" 200 1234`,
    `10.0.0.1 - - [23/Nov/2026:00:00:00 +0000] "GET /cvmfs/other.example.org/data/dd/${'d'.repeat(38)} HTTP/1.1" 200 1`,
  ].join('\n');
  assert.deepEqual(parseAccessLog(log, 'os.example.org'), {
    fqrn: 'os.example.org',
    rootCatalog: undefined,
    objects: [
      { hash: A, isCatalog: true },
      { hash: B, isCatalog: false },
    ],
  });
});
