import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { nodeHashing } from '../node/hashing.ts';
import { nodeSignatures } from '../node/signatures.ts';
import { type ContentHash, NULL_HASH } from './content-hash.ts';
import {
  ed25519Message,
  formatEd25519Line,
  MAX_ED25519_SIGNATURES,
  verifyEd25519Signature,
} from './ed25519-signature.ts';
import { formatManifest, type Manifest, parseManifest, type SignedManifest } from './manifest.ts';
import type { PublicKey } from './ports.ts';
import { formatSignedText } from './signed-text.ts';

const MANIFEST: Manifest = {
  rootCatalog: NULL_HASH,
  rootCatalogSizeBytes: 1,
  ttlSeconds: 240,
  revision: 7,
  garbageCollectable: true,
  hasAlternativePaths: false,
  fqrn: 'os.example.org',
  certificate: 'ab'.repeat(20) as ContentHash,
  history: undefined,
  publishedSeconds: 1_750_000_000,
  metainfo: undefined,
  reflog: undefined,
};
const LINES = formatManifest(MANIFEST);

interface Signer {
  readonly privateKey: KeyObject;
  readonly publicKey: PublicKey;
}

function signer(): Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const pem = publicKey.export({ type: 'spki', format: 'pem' }) as string;
  return { privateKey, publicKey: nodeSignatures.importPublicKey(pem) };
}

const own = signer();
const strange = signer();

function lineBy({ privateKey }: Signer, lines: readonly string[] = LINES): string {
  return formatEd25519Line(sign(null, ed25519Message(lines), privateKey).toString('base64'));
}

/** As it is read; the RSA signature is checked elsewhere. */
async function manifestOf(lines: readonly string[]): Promise<SignedManifest> {
  return parseManifest(
    nodeHashing,
    await formatSignedText(nodeHashing, 'sha1', lines, () => new Uint8Array(8)),
  );
}

async function check(lines: readonly string[], keys: readonly Signer[] = [own]): Promise<void> {
  verifyEd25519Signature(
    nodeSignatures,
    await manifestOf(lines),
    keys.map(({ publicKey }) => publicKey),
  );
}

test('what is signed is the purpose and all other lines, as any Ed25519 program can check', () => {
  const message = Buffer.concat([Buffer.from('thimble manifest 1\n'), Buffer.from(`${LINES.join('\n')}\n`)]);
  assert.deepEqual(Buffer.from(ed25519Message(LINES)), message);
  const line = lineBy(own);
  assert.match(line, /^e[A-Za-z0-9+/]{86}==$/);
  assert.deepEqual(ed25519Message([line, ...LINES, line]), ed25519Message(LINES));
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  assert.ok(verify(null, message, publicKey, sign(null, ed25519Message(LINES), privateKey)));
});

test('a manifest with signatures reads as without', async () => {
  const { manifest } = await manifestOf([...LINES, lineBy(own), lineBy(strange)]);
  assert.deepEqual(manifest, MANIFEST);
});

test('a signature by any of the keys is enough, wherever its line is', async () => {
  await check([...LINES, lineBy(own)]);
  await check([lineBy(own), ...LINES]);
  await check([...LINES, lineBy(strange), lineBy(own)]);
  await check([...LINES, lineBy(own)], [strange, own]);
  await check([...LINES, ...Array.from({ length: MAX_ED25519_SIGNATURES }, () => lineBy(own))]);
});

const OTHER_REPOSITORY = formatManifest({ ...MANIFEST, fqrn: 'b.example.org' });
const OTHER_REVISION = formatManifest({ ...MANIFEST, revision: 6 });

const REFUSED: readonly (readonly [why: string, code: string, lines: () => readonly string[]])[] = [
  ['there is none', 'TRUST', () => LINES],
  ['a stranger signed', 'TRUST', () => [...LINES, lineBy(strange)]],
  ['it is of an older manifest', 'TRUST', () => [...LINES, lineBy(own, OTHER_REVISION)]],
  ['it is of another repository', 'TRUST', () => [...LINES, lineBy(own, OTHER_REPOSITORY)]],
  ['a line was added', 'TRUST', () => [...LINES, 'Z1', lineBy(own)]],
  ['a line with its letter was added that is none', 'TRUST', () => [...LINES, 'e', lineBy(own)]],
  ['a line was repeated', 'TRUST', () => [...LINES, LINES[0]!, lineBy(own)]],
  ['lines were swapped', 'TRUST', () => [...LINES.toReversed(), lineBy(own)]],
  ['it is empty', 'TRUST', () => [...LINES, 'e']],
  ['it is zeros', 'TRUST', () => [...LINES, `e${'A'.repeat(86)}==`]],
  ['it is cut', 'TRUST', () => [...LINES, lineBy(own).slice(0, -4)]],
  ['bytes follow it', 'TRUST', () => [...LINES, `${lineBy(own)} `]],
  [
    'there are too many',
    'LIMIT',
    () => [...LINES, ...Array.from({ length: MAX_ED25519_SIGNATURES + 1 }, () => lineBy(own))],
  ],
];

for (const [why, code, lines] of REFUSED) {
  test(`a manifest is refused with ${code} where ${why}`, async () => {
    await assert.rejects(check(lines()), { name: 'ThimbleError', code });
  });
}

test('a signature over the bare text does not count: it may have been made for something else', async () => {
  const bare = sign(null, Buffer.from(`${LINES.join('\n')}\n`), own.privateKey).toString('base64');
  await assert.rejects(check([...LINES, formatEd25519Line(bare)]), { code: 'TRUST' });
});

/** Refused by a reader that has the key of whoever signed the lines before they were changed. */
function assertIsRefused(lines: readonly string[], { publicKey }: Signer): void {
  const signed = { lines, hash: NULL_HASH, signature: new Uint8Array(0) };
  assert.throws(() => verifyEd25519Signature(nodeSignatures, { manifest: MANIFEST, signed }, [publicKey]), {
    code: 'TRUST',
  });
}

test('a manifest is refused when any single character of its text or signature differs', () => {
  const lines = [...LINES, lineBy(own)];
  for (const [index, line] of lines.entries()) {
    for (let at = 0; at < line.length; at++) {
      const changed = `${line.slice(0, at)}${line[at] === 'Q' ? 'R' : 'Q'}${line.slice(at + 1)}`;
      assertIsRefused(lines.with(index, changed), own);
    }
  }
});

test('a signature has one spelling: no other last letter stands for the same bits', () => {
  const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const MEANT = 'AQgw';
  const missing = new Set(MEANT);
  // Each of the four ends a quarter of all signatures.
  for (let tries = 0; missing.size > 0 && tries < 1000; tries++) {
    const key = signer();
    const line = lineBy(key);
    assert.ok(MEANT.includes(line[86]!));
    if (!missing.delete(line[86]!)) continue;
    for (const letter of LETTERS.replace(line[86]!, '')) {
      assertIsRefused([...LINES, `${line.slice(0, 86)}${letter}==`], key);
    }
  }
  assert.deepEqual([...missing], [], 'every ending was seen');
});
