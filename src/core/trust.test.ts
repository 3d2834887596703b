import assert from 'node:assert/strict';
import { constants, createPrivateKey, generateKeyPairSync, privateEncrypt, sign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { fixturePath, unpackFixture } from '../../test/support/fixtures.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import { nodeSignatures } from '../node/signatures.ts';
import { createKeys, type RepositoryKeys } from '../publish/keys.ts';
import { ascii, byteStringOf, bytesOf, concatBytes } from './bytes/byte-string.ts';
import { decodePemCertificate, MAX_CERTIFICATE_BYTES } from './certificate.ts';
import { HASH_ALGORITHMS, type HashAlgorithm, hashBytes, objectPath } from './content-hash.ts';
import type { Fqrn } from './fqrn.ts';
import { decodeHistory, MAX_HISTORY_BYTES } from './history.ts';
import { formatManifest, MANIFEST_PATH, parseManifest } from './manifest.ts';
import type { PublicKey } from './ports.ts';
import { formatSignedText } from './signed-text.ts';
import {
  importPublicKeys,
  verifyCertificate,
  verifyManifestName,
  verifyManifestSignature,
  verifyWhitelist,
} from './trust.ts';
import { formatWhitelist, parseWhitelist, WHITELIST_PATH } from './whitelist.ts';

const ports = { hashing: nodeHashing, signatures: nodeSignatures };
const FQRN = 'a.example.org' as Fqrn;
const NOW = Date.UTC(2030, 0, 1) / 1000;
const DAY = 24 * 3600;

/** All that a client gets to see, and what it was configured with. */
interface Chain {
  readonly manifest: Uint8Array;
  readonly whitelist: Uint8Array;
  readonly certificate: Uint8Array;
  readonly masterKeys: readonly PublicKey[];
  readonly fqrn: string;
  readonly nowSeconds: number;
}

/** The whole chain, as a client goes along it. */
function verifyChain({ manifest, whitelist, certificate, masterKeys, fqrn, nowSeconds }: Chain): void {
  const signedManifest = parseManifest(nodeHashing, manifest);
  verifyManifestName(signedManifest, fqrn);
  const signedWhitelist = parseWhitelist(nodeHashing, whitelist);
  verifyManifestSignature(ports, signedManifest, certificate);
  verifyWhitelist(ports, signedWhitelist, fqrn, masterKeys, nowSeconds);
  verifyCertificate(ports, signedWhitelist, certificate);
}

let keys: RepositoryKeys;
let strangers: RepositoryKeys;
let good: Chain;

before(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-test-'));
  after(() => rmSync(folder, { recursive: true }));
  keys = await createKeys(join(folder, 'own'), FQRN, NOW);
  strangers = await createKeys(join(folder, 'strangers'), FQRN, NOW);
  good = {
    manifest: await manifestBy(keys),
    whitelist: await whitelistBy(keys),
    certificate: keys.certificate,
    masterKeys: importPublicKeys(nodeSignatures, keys.publicKey),
    fqrn: FQRN,
    nowSeconds: NOW,
  };
});

function manifestBy(signer: RepositoryKeys, digest = 'RSA-SHA1', algorithm: HashAlgorithm = 'sha1') {
  const lines = formatManifest({
    rootCatalog: hashBytes(nodeHashing, 'sha1', new Uint8Array(0)),
    rootCatalogSizeBytes: 0,
    ttlSeconds: 240,
    revision: 1,
    garbageCollectable: false,
    hasAlternativePaths: false,
    fqrn: FQRN,
    certificate: hashBytes(nodeHashing, 'sha1', signer.certificate),
    history: undefined,
    publishedSeconds: NOW,
    metainfo: undefined,
    reflog: undefined,
  });
  return formatSignedText(nodeHashing, algorithm, lines, (text) => sign(digest, text, signer.repositoryKey));
}

interface WhitelistOptions {
  readonly fqrn?: string;
  readonly listed?: Uint8Array;
  readonly algorithm?: HashAlgorithm;
  readonly withDigest?: boolean;
}

function whitelistBy(signer: RepositoryKeys, options: WhitelistOptions = {}): Promise<Uint8Array> {
  const { fqrn = FQRN, listed = keys.certificate, algorithm = 'sha1', withDigest = false } = options;
  const fingerprints = [hashBytes(nodeHashing, algorithm, decodePemCertificate(listed))];
  const lines = formatWhitelist(
    { createdSeconds: NOW, expiresSeconds: NOW + 30 * DAY, fqrn, fingerprints },
    'x',
  );
  return formatSignedText(nodeHashing, algorithm, lines, (text) =>
    withDigest
      ? sign('RSA-SHA1', text, signer.masterKey)
      : privateEncrypt({ key: signer.masterKey, padding: constants.RSA_PKCS1_PADDING }, text),
  );
}

/** The same file with its text changed and its hash made to fit, but the old signature. */
function withText(file: Uint8Array, from: RegExp, to: string): Uint8Array {
  const [, text, signature] = /^(.*?\n)--\n[^\n]*\n(.*)$/s.exec(byteStringOf(file))!;
  const changed = bytesOf(ascii(text!.replace(from, to)));
  const hash = hashBytes(nodeHashing, 'sha1', changed);
  return concatBytes([changed, bytesOf(ascii(`--\n${hash}\n${signature}`))]);
}

test('the whole chain is trusted when everything is as signed', () => verifyChain(good));

for (const algorithm of HASH_ALGORITHMS) {
  test(`the chain may use ${algorithm} for texts and fingerprints`, async () => {
    verifyChain({
      ...good,
      manifest: await manifestBy(keys, 'RSA-SHA1', algorithm),
      whitelist: await whitelistBy(keys, { algorithm }),
    });
  });
}

test('a whitelist is good until the second before the hour of its expiry', () => {
  verifyChain({ ...good, nowSeconds: NOW + 30 * DAY - 1 });
});

test('one fitting master key among several is enough, also several in one file', async () => {
  const both = concatBytes([strangers.publicKey, keys.publicKey]);
  const masterKeys = importPublicKeys(nodeSignatures, both);
  assert.equal(masterKeys.length, 2);
  verifyChain({ ...good, masterKeys });
});

test('the validity dates of a certificate do not count, only the whitelist does', () => {
  verifyChain({ ...good, nowSeconds: NOW - 50 * 365 * DAY });
});

const REFUSED: readonly [
  why: string,
  code: string,
  change: () => Promise<Partial<Chain>> | Partial<Chain>,
][] = [
  [
    'the master key is not ours',
    'TRUST',
    () => ({ masterKeys: importPublicKeys(nodeSignatures, strangers.publicKey) }),
  ],
  ['there is no master key', 'TRUST', () => ({ masterKeys: [] })],
  ['the whitelist has expired', 'TRUST', () => ({ nowSeconds: NOW + 30 * DAY })],
  [
    'the whitelist is of another repository',
    'TRUST',
    async () => ({ whitelist: await whitelistBy(keys, { fqrn: 'b.example.org' }) }),
  ],
  ['strangers signed the whitelist', 'TRUST', async () => ({ whitelist: await whitelistBy(strangers) })],
  [
    'the whitelist is signed with a digest',
    'TRUST',
    async () => ({ whitelist: await whitelistBy(keys, { withDigest: true }) }),
  ],
  ['the whitelist was changed', 'TRUST', () => ({ whitelist: withText(good.whitelist, /^E2030/m, 'E2040') })],
  [
    'the certificate is not on the whitelist',
    'TRUST',
    async () => ({ whitelist: await whitelistBy(keys, { listed: strangers.certificate }) }),
  ],
  [
    'manifest and certificate are of strangers',
    'TRUST',
    async () => ({ manifest: await manifestBy(strangers), certificate: strangers.certificate }),
  ],
  ['another repository is expected', 'TRUST', () => ({ fqrn: 'b.example.org' })],
  ['strangers signed the manifest', 'INTEGRITY', async () => ({ manifest: await manifestBy(strangers) })],
  [
    'the manifest is signed with SHA-256',
    'INTEGRITY',
    async () => ({ manifest: await manifestBy(keys, 'RSA-SHA256') }),
  ],
  ['the manifest was changed', 'INTEGRITY', () => ({ manifest: withText(good.manifest, /^S1$/m, 'S2') })],
  [
    'bytes follow the signature',
    'INTEGRITY',
    () => ({ manifest: concatBytes([good.manifest, Uint8Array.of(0)]) }),
  ],
  ['the signature is missing', 'INTEGRITY', () => ({ manifest: good.manifest.slice(0, -256) })],
  [
    'the certificate is none',
    'FORMAT',
    () => ({ certificate: bytesOf(ascii('-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----')) }),
  ],
];

for (const [why, code, change] of REFUSED) {
  test(`the chain is refused with ${code} where ${why}`, async () => {
    const chain = { ...good, ...(await change()) };
    assert.throws(() => verifyChain(chain), { name: 'ThimbleError', code });
  });
}

for (const part of ['manifest', 'whitelist'] as const) {
  test(`the chain is refused when any single byte of the ${part} differs`, () => {
    for (let at = 0; at < good[part].length; at++) {
      const changed = good[part].slice();
      changed[at]! ^= 1 << (at % 8);
      assert.throws(
        () => verifyChain({ ...good, [part]: changed }),
        (error: { name: string; code: string }) => {
          assert.equal(error.name, 'ThimbleError');
          return ['FORMAT', 'INTEGRITY', 'TRUST'].includes(error.code);
        },
        `byte ${at}`,
      );
    }
  });
}

test('importPublicKeys() refuses a file without a public key, and a key that is not RSA', () => {
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  const files = [
    '',
    'ssh-rsa AAAA',
    createPrivateKey(keys.masterKey.export({ type: 'pkcs8', format: 'pem' })).export({
      type: 'pkcs1',
      format: 'pem',
    }),
    '-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n',
    elliptic.export({ type: 'spki', format: 'pem' }),
  ];
  for (const file of files) {
    assert.throws(() => importPublicKeys(nodeSignatures, bytesOf(ascii(String(file)))), {
      name: 'ThimbleError',
      code: 'FORMAT',
    });
  }
});

for (const name of ['shake128', 'history']) {
  test(`the chain of the golden repository ${name} is trusted, and its tags are read`, (t) => {
    const storage = unpackFixture(name, scratchFolder(t));
    const read = (path: string) => readFileSync(join(storage, path));
    const { manifest } = parseManifest(nodeHashing, read(MANIFEST_PATH));
    const { whitelist } = parseWhitelist(nodeHashing, read(WHITELIST_PATH));
    const object = (type: 'X' | 'H', limit: number) => {
      const hash = type === 'X' ? manifest.certificate! : manifest.history!;
      return nodeInflating.inflate(read(objectPath(hash, type)), limit);
    };
    const chain: Chain = {
      manifest: read(MANIFEST_PATH),
      whitelist: read(WHITELIST_PATH),
      certificate: object('X', MAX_CERTIFICATE_BYTES),
      masterKeys: importPublicKeys(
        nodeSignatures,
        readFileSync(fixturePath(`${name}/${name}.peer.test.pub`)),
      ),
      fqrn: `${name}.peer.test`,
      nowSeconds: whitelist.createdSeconds,
    };
    verifyChain(chain);
    assert.throws(() => verifyChain({ ...chain, masterKeys: good.masterKeys }), { code: 'TRUST' });
    const history = decodeHistory(object('H', MAX_HISTORY_BYTES));
    assert.equal(history.fqrn, chain.fqrn);
    assert.equal(history.tags[0]!.rootCatalog, manifest.rootCatalog);
    assert.equal(history.tags.find((tag) => tag.name === 'trunk')?.revision, manifest.revision);
  });
}
