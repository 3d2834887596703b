/**
 * Every decoder of bytes from outside, with samples of what it decodes: for the million inputs of `npm run bench -- fuzz`
 * and for the few thousand that run with the tests. A new decoder gets a row here.
 */

import { CheckState } from '../../../src/client/check-state.ts';
import { HttpClient } from '../../../src/client/network/http-client.ts';
import { parseHttpUrl } from '../../../src/client/network/url.ts';
import { parseAccessLog, parseRecording } from '../../../src/client/profile/recording.ts';
import { SnapshotVfs } from '../../../src/client/snapshot-vfs.ts';
import { parseMountOptions } from '../../../src/config/mount-options.ts';
import { parseOwnFile } from '../../../src/config/own-files.ts';
import { ShellEvaluation } from '../../../src/config/shell-evaluation.ts';
import { parseBlacklists } from '../../../src/core/blacklist.ts';
import { type ByteString, type Bytes, byteStringOf, bytesOf } from '../../../src/core/bytes/byte-string.ts';
import { decodeBase64, decodeHex } from '../../../src/core/bytes/hex.ts';
import { parseUnsigned } from '../../../src/core/bytes/integer.ts';
import { decodeUtf8, displayBytes } from '../../../src/core/bytes/utf8.ts';
import { CatalogReader, type CatalogRow } from '../../../src/core/catalog/catalog-reader.ts';
import { checkCatalog } from '../../../src/core/catalog/check-catalog.ts';
import { decodeXattrs } from '../../../src/core/catalog/xattrs.ts';
import { decodePemCertificate } from '../../../src/core/certificate.ts';
import { type ContentHash, parseContentHash, parseFingerprint } from '../../../src/core/content-hash.ts';
import { verifyEd25519Signature } from '../../../src/core/ed25519-signature.ts';
import { type ErrorCode, ThimbleError } from '../../../src/core/errors.ts';
import { parseFqrn } from '../../../src/core/fqrn.ts';
import { decodeHistory, findTagByDate } from '../../../src/core/history.ts';
import { parseManifest } from '../../../src/core/manifest.ts';
import { NO_PARENT, type PathKey } from '../../../src/core/path-key.ts';
import { parsePathSpecs } from '../../../src/core/path-spec.ts';
import type { Clock } from '../../../src/core/ports.ts';
import { decodeProfileIndex } from '../../../src/core/profile-index.ts';
import { decodeProfileTable, placeObjects } from '../../../src/core/profile-table.ts';
import { decodeReflog } from '../../../src/core/reflog.ts';
import { parseSignedText } from '../../../src/core/signed-text.ts';
import { SqliteDatabase } from '../../../src/core/sqlite/database.ts';
import { expandSymlink } from '../../../src/core/symlink-variables.ts';
import { importPublicKeys } from '../../../src/core/trust.ts';
import { type NodeId, ROOT_NODE } from '../../../src/core/vfs.ts';
import { parseWhitelist } from '../../../src/core/whitelist.ts';
import { FuseOutHeader } from '../../../src/fuse/abi.ts';
import { FuseSession, REPLY_BUFFER_BYTES, REQUEST_BUFFER_BYTES } from '../../../src/fuse/session.ts';
import { parseLease } from '../../../src/guest/network.ts';
import { chooseScratch } from '../../../src/guest/scratch-disk.ts';
import { mergeSettings, parseImageSettings, parseOemStrings } from '../../../src/guest/settings.ts';
import { nodeHashing } from '../../../src/node/hashing.ts';
import { nodeInflating } from '../../../src/node/inflating.ts';
import { nodeSignatures } from '../../../src/node/signatures.ts';
import { scriptedSockets } from '../scripted-sockets.ts';
import { BLOCK, pieces, readAll, withChecksum } from '../tar-archive.ts';
import * as samples from './samples.ts';

export interface Decoder {
  /** Returns when everything that can be asked of these bytes was asked. */
  readonly decode: (bytes: Bytes) => unknown;
  readonly samples: readonly Bytes[];
  /** Codes of errors besides those that every decoder may refuse with. */
  readonly alsoRefuses?: readonly ErrorCode[];
  /** Inputs in the tests, where it is not as fast as others. */
  readonly testInputs?: number;
}

const REFUSALS: readonly ErrorCode[] = ['FORMAT', 'LIMIT', 'INTEGRITY', 'UNSUPPORTED'];

/** Whether a decoder may throw this. */
export function isRefusal(error: unknown, { alsoRefuses = [] }: Pick<Decoder, 'alsoRefuses'> = {}): boolean {
  return error instanceof ThimbleError && (REFUSALS.includes(error.code) || alsoRefuses.includes(error.code));
}

/** A configuration file of CernVM-FS, on a machine with no other file. */
function evaluateShell(file: string): void {
  const files = {
    read: (path: string) => (path === '/main.conf' ? { text: file, isPublic: true } : undefined),
    isFile: () => false,
    isFolder: () => true,
  };
  new ShellEvaluation({ files, machineNumber: 1 }).include('/main.conf');
}

/** Each thing is asked for on its own, so that one that is refused does not hide the others. */
function tolerant(ask: () => unknown): void {
  try {
    ask();
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}

const asText = (decode: (value: string) => unknown) => (bytes: Bytes) => decode(byteStringOf(bytes));

// ---- databases ----

const PROPERTIES_OF_ROW = Object.entries(
  Object.getOwnPropertyDescriptors(Object.getPrototypeOf(CatalogReader.open(samples.CATALOG).row)),
).flatMap(([name, { get }]) => (get === undefined ? [] : [name as keyof CatalogRow]));

function touch(row: CatalogRow): void {
  const key: PathKey = new Int32Array(4);
  tolerant(() => row.key(key));
  tolerant(() => row.parentKey(key));
  for (const name of PROPERTIES_OF_ROW) tolerant(() => row[name]);
}

function readCatalog(bytes: Bytes): void {
  const reader = CatalogReader.open(bytes);
  tolerant(() => reader.entries(touch));
  for (const key of [samples.ROOT, samples.FILE, NO_PARENT]) {
    tolerant(() => reader.find(key) && touch(reader.row));
    tolerant(() => reader.children(key, 0, (row) => row.rowid > 0));
    tolerant(() => reader.children(key, 20, (row) => row.name.length >= 0));
    tolerant(() => reader.hardlinkGroups(key));
    tolerant(() => reader.chunks(key, 300, 4));
  }
  tolerant(() => reader.counters());
}

const TABLES = ['catalog', 'chunks', 'nested_catalogs', 'statistics', 'properties', 'tags', 'refs'];

function readTables(bytes: Bytes): void {
  const database = SqliteDatabase.open(bytes);
  for (const name of TABLES) {
    if (!database.hasTable(name)) continue;
    tolerant(() => database.columns(name));
    tolerant(() => {
      const cursor = database.table(name);
      for (let more = cursor.first(); more; more = cursor.next()) {
        const { record } = cursor;
        for (let column = 0; column < record.count; column++) {
          tolerant(() => (record.isNumber(column) ? record.number(column) : record.blob(column)));
        }
      }
    });
    tolerant(() => database.table(name).seek(7));
  }
}

function readHistory(bytes: Bytes): void {
  const history = decodeHistory(bytes);
  if (history.tags.length > 0) findTagByDate(history, Number.MAX_SAFE_INTEGER);
}

/** Also what the rules say of it. */
function judgeCatalog(bytes: Bytes): void {
  const expected = { mountpoint: byteStringOf(new Uint8Array(0)), sizeBytes: bytes.length, revision: 3 };
  checkCatalog(bytes, expected, { hashing: nodeHashing, report: () => {}, onObject: () => {} });
}

// ---- file system ----

function vfsOf(catalog: Bytes): SnapshotVfs {
  const cache = { read: () => 1 };
  const vfs = new SnapshotVfs({ hashing: nodeHashing, cache, variable: () => undefined });
  const reader = CatalogReader.open(catalog);
  vfs.catalogs.attach({ mountpoint: '' as ByteString, hash: samples.HASH as ContentHash, reader });
  return vfs;
}

/** What a kernel asks when somebody lists, reads and looks at everything. */
function askVfs(bytes: Bytes): void {
  const vfs = vfsOf(bytes);
  const nodes: NodeId[] = [ROOT_NODE, 9 as NodeId, 0x1_0000_0000 as NodeId];
  tolerant(() =>
    vfs.readdir(ROOT_NODE, 0, (_, __, ___, { node }) => {
      nodes.push(node);
      return nodes.length < 60;
    }),
  );
  const into = new Uint8Array(256);
  for (const node of nodes) {
    tolerant(() => vfs.getattr(node));
    tolerant(() => vfs.readlink(node));
    tolerant(() => vfs.listxattr(node).map((name) => vfs.getxattr(node, name)));
    tolerant(() => vfs.lookup(node, bytesOf(byteStringOf(samples.text('n7')))));
    tolerant(() => vfs.nestedCatalogOf(node));
    const { mode = 0 } = isReadable(vfs, node) ?? {};
    if (mode >> 12 === 8) tolerant(() => vfs.read(node, 5, 200, into, 0));
  }
  tolerant(() => vfs.statfs());
}

function isReadable(vfs: SnapshotVfs, node: NodeId): { readonly mode: number } | undefined {
  let attributes: { readonly mode: number } | undefined;
  tolerant(() => {
    attributes = vfs.getattr(node);
  });
  return attributes;
}

let failure: string | undefined;
const noteFailure = (_: string, fields: Readonly<Record<string, unknown>> = {}) => {
  failure = String(fields['error']);
};
const session = new FuseSession(vfsOf(samples.CATALOG), {
  validSeconds: 1,
  log: { debug: () => {}, info: () => {}, warn: () => {}, error: noteFailure },
});
const request = new Uint8Array(REQUEST_BUFFER_BYTES);
const reply = new Uint8Array(REPLY_BUFFER_BYTES);

/** It never throws; what it logs has to be a refusal all the same, and what it replies has to say its own length. */
function answer(bytes: Bytes): void {
  const length = Math.min(bytes.length, request.length);
  request.set(bytes.subarray(0, length));
  failure = undefined;
  const size = session.handle(request, length, reply);
  if (failure !== undefined && !String(failure).startsWith('ThimbleError')) throw new Error(failure);
  if (size > 0 && FuseOutHeader.decode(reply).len !== size) throw new Error(`the reply has ${size} bytes`);
}

// ---- archives and network ----

/** Numbers at the start of headers are what mutations strike; without their checksums all would be refused alike. */
function repairChecksums(bytes: Bytes): Bytes {
  for (let at = 0; at + BLOCK <= bytes.length; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK);
    if (byteStringOf(block, 257, 262) === 'ustar') withChecksum(block);
  }
  return bytes;
}

const STANDING_CLOCK: Clock = { monotonicMs: () => 0, unixSeconds: () => 0, after: () => () => {} };

/** In two pieces, so that what is cut in the middle is met as well. */
async function receive(bytes: Bytes): Promise<void> {
  const middle = bytes.length >> 1;
  const script = [bytes.subarray(0, middle), bytes.subarray(middle)].filter((piece) => piece.length > 0);
  const client = new HttpClient(scriptedSockets(script), STANDING_CLOCK);
  const response = await client.send({
    target: { host: 'a', port: 80, tls: false },
    authority: 'a',
    resource: '/',
    deadlineMs: 1000,
  });
  while ((await response.next()) !== undefined);
  client.close();
}

async function inflateInPieces(bytes: Bytes): Promise<void> {
  const inflater = nodeInflating.createInflater();
  try {
    await inflater.push(bytes);
    await inflater.end();
  } finally {
    inflater.close();
  }
}

const ED25519_KEYS = importPublicKeys(nodeSignatures, samples.ED25519_KEY_PEM);

/** None is right: they are looked at, and refused. */
function verifySecondSignature(lines: Bytes): void {
  try {
    verifyEd25519Signature(nodeSignatures, parseManifest(nodeHashing, samples.hashed(lines)), ED25519_KEYS);
  } catch (error) {
    if (!isRefusal(error, { alsoRefuses: ['TRUST'] })) throw error;
  }
}

const LONG_PATH = byteStringOf(samples.text(`/${'usr'.repeat(30)}/${'a'.repeat(60)}b`));

/** Patterns come from others, and so do the paths that they are held against. */
function matchPaths(bytes: Bytes): void {
  for (const spec of parsePathSpecs(byteStringOf(bytes), 'sample')) {
    spec.matches(LONG_PATH);
    spec.matchesRelaxed(LONG_PATH);
    spec.matchesPrefix(LONG_PATH);
    spec.mayMatchBelow(LONG_PATH);
  }
}

const USAGE: readonly ErrorCode[] = ['USAGE'];
const CATALOG_INPUTS = 1000;
const { text, HASH, FINGERPRINT } = samples;

export const DECODERS: Readonly<Record<string, Decoder>> = {
  decodeHex: { decode: asText(decodeHex), samples: [text(HASH)] },
  decodeBase64: { decode: asText(decodeBase64), samples: [text('AQIDBAUGBw==')] },
  decodeUtf8: { decode: asText(decodeUtf8), samples: [text('\xc3\xa9\xf0\x9f\x98\x80')] },
  displayBytes: { decode: asText(displayBytes), samples: [text('\xc3\xa9\xf0\x9f\x98\x80\xff')] },
  parseUnsigned: { decode: asText((value) => parseUnsigned(value, 'count')), samples: [text('42')] },
  parseContentHash: {
    decode: asText((value) => parseContentHash(value)),
    samples: [text(`${HASH}-shake128`)],
  },
  parseFingerprint: { decode: asText(parseFingerprint), samples: [text(`${FINGERPRINT} # mine`)] },
  parseFqrn: { decode: asText(parseFqrn), samples: [text('os.example.org')], alsoRefuses: USAGE },
  parseHttpUrl: {
    decode: asText(parseHttpUrl),
    samples: [text('http://[::1]:8000/cvmfs/a.example.org/')],
    alsoRefuses: USAGE,
  },
  decodeXattrs: {
    decode: decodeXattrs,
    samples: [decodeHex('01020601757365722e61310601757365722e6232'), text('\x01\x01\x06\x03user.a\0\xff1')],
  },
  decodePemCertificate: { decode: decodePemCertificate, samples: [samples.CERTIFICATE_PEM] },
  importCertificateKey: {
    decode: nodeSignatures.importCertificateKey,
    samples: [decodePemCertificate(samples.CERTIFICATE_PEM)],
  },
  importPublicKeys: {
    decode: (pem) => importPublicKeys(nodeSignatures, pem),
    samples: [samples.PUBLIC_KEY_PEM],
  },
  parseSignedText: {
    decode: (bytes) => parseSignedText(nodeHashing, bytes, 'sample'),
    samples: [samples.hashed(samples.MANIFEST)],
  },
  parseManifest: {
    decode: (lines) => parseManifest(nodeHashing, samples.hashed(lines)),
    samples: [samples.MANIFEST],
  },
  decodeProfileIndex: { decode: decodeProfileIndex, samples: [samples.PROFILE_INDEX] },
  decodeProfileTable: {
    decode: (table) => placeObjects(decodeProfileTable(table), samples.PROFILE_PACKS),
    samples: [samples.PROFILE_TABLE],
  },
  parseRecording: { decode: asText(parseRecording), samples: [samples.RECORDING] },
  parseAccessLog: {
    decode: asText((log) => parseAccessLog(log, 'os.example.org')),
    samples: [samples.ACCESS_LOG],
  },
  verifyEd25519Signature: { decode: verifySecondSignature, samples: [samples.SIGNED_MANIFEST] },
  parseBlacklists: {
    decode: (file) => parseBlacklists([file]),
    samples: [text(`# revoked\n${FINGERPRINT} # mine\n<a.example.org 17\n`)],
  },
  evaluateShell: {
    decode: asText(evaluateShell),
    samples: [
      text(
        '# a\nexport A="x $B ${C:-d}" B=\'1\'\nif [ -z "$A" ] && ! [ $B -lt 2 ]; then\n  . ./b.conf\nelif test a = b; then :\nelse readonly C=$((RANDOM % 2))\nfi\n',
      ),
      text('A=$(x)\nif grep -q "a\\|b" /etc/x; then unset A; return; fi\nD=`y`${A:=e}\\\nf\n'),
    ],
  },
  parseOwnFile: {
    decode: asText((yaml) => parseOwnFile(yaml, 'client.yaml', parseFqrn('os.example.org'), [])),
    samples: [
      text('cache:\n  limit: 4G\nproxies: {groups: ["a:1|b:2", DIRECT]}\nmount: {variables: {A: b}}\n'),
      text(
        'domains:\n  example.org:\n    mount: {suid: true}\nrepositories: {os.example.org: {offline: {deadlineSeconds: wait}}}\n',
      ),
    ],
    testInputs: 500,
  },
  parseMountOptions: {
    decode: asText((list) => parseMountOptions([list])),
    samples: [text('rw,nodev,_netdev,cache.limit=1G,"variable=A=1,2",config=/a:/b,CVMFS_TIMEOUT=5')],
    alsoRefuses: ['USAGE'],
  },
  parsePathSpecs: {
    decode: matchPaths,
    samples: [text('version\n/usr/*/a?b\n!/usr/lib/\\*\n*.deb\n# comment\n'), text('/usr*/a*a*b')],
  },
  parseWhitelist: {
    decode: (lines) => parseWhitelist(nodeHashing, samples.hashed(lines)),
    samples: [samples.WHITELIST],
  },
  decodeHistory: { decode: readHistory, samples: [samples.HISTORY], alsoRefuses: ['NOT_FOUND'] },
  CheckState: {
    decode: (bytes) => CheckState.decode(bytes, samples.CHECK_KIND, nodeHashing),
    samples: [samples.CHECK_STATE],
    alsoRefuses: USAGE,
  },
  decodeReflog: { decode: decodeReflog, samples: [samples.REFLOG] },
  SqliteDatabase: {
    decode: readTables,
    samples: [...samples.CATALOGS, samples.HISTORY, samples.REFLOG],
    testInputs: CATALOG_INPUTS,
  },
  CatalogReader: { decode: readCatalog, samples: samples.CATALOGS, testInputs: CATALOG_INPUTS },
  checkCatalog: { decode: judgeCatalog, samples: samples.CATALOGS, testInputs: CATALOG_INPUTS },
  SnapshotVfs: { decode: askVfs, samples: samples.CATALOGS, testInputs: CATALOG_INPUTS },
  expandSymlink: {
    decode: (target) => expandSymlink(byteStringOf(target), () => undefined),
    samples: [text('$(A)/x$(B:-c)/$(D'), text('usr/$()/$((A))')],
  },
  FuseSession: { decode: answer, samples: samples.FUSE_REQUESTS },
  readTar: { decode: (bytes) => readAll(pieces(bytes, [700, 1])), samples: samples.TAR_ARCHIVES },
  readTarChecked: {
    decode: (bytes) => readAll(pieces(repairChecksums(bytes))),
    samples: samples.TAR_ARCHIVES,
  },
  HttpClient: { decode: receive, samples: samples.HTTP_RESPONSES, alsoRefuses: ['NETWORK'] },
  inflate: { decode: (bytes) => nodeInflating.inflate(bytes, 100_000), samples: samples.ZLIB },
  createInflater: { decode: inflateInPieces, samples: samples.ZLIB },
  parseImageSettings: { decode: asText(parseImageSettings), samples: [samples.IMAGE_SETTINGS] },
  mergeSettings: {
    decode: asText((line) =>
      mergeSettings({ fqrn: 'os.example.org', servers: [], proxies: [] }, line.split('\0'), line),
    ),
    samples: [
      text(
        `ro thimble.repo=os.example.org thimble.server="http://a,http://b/@fqrn@" thimble.root_hash=${HASH}`,
      ),
      text('thimble.tag=v1 thimble.nodisk thimble.format=/dev/vda\0thimble.rescue'),
    ],
    alsoRefuses: USAGE,
  },
  parseOemStrings: {
    decode: asText(parseOemStrings),
    samples: [text('\x0b\x05\x00\x00\x02thimble.tag=v1\0thimble.nodisk\0\0')],
  },
  parseLease: {
    decode: asText(parseLease),
    samples: [
      text('interface=eth0\nip=10.0.2.15\nrouter=10.0.2.2\ndns=10.0.2.3 1.1.1.1\ndomain=a.example\n'),
    ],
  },
  chooseScratch: {
    decode: (start) => chooseScratch([{ name: 'vda', readOnly: false, start }], undefined),
    samples: [text(`THIMBLE BLANK DISK 1\n${'\0'.repeat(1200)}`)],
  },
};
