/** Valid bytes of each format, small, with something of everything in them: what inputs are made from. */

import { DatabaseSync } from 'node:sqlite';
import { deflateSync } from 'node:zlib';
import { CheckState } from '../../../src/client/check-state.ts';
import { ascii, type Bytes, bytesOf, concatBytes } from '../../../src/core/bytes/byte-string.ts';
import { COUNTER_NAMES } from '../../../src/core/catalog/counters.ts';
import { type ContentHash, hashBytes } from '../../../src/core/content-hash.ts';
import { NO_PARENT, type PathKey, pathKeyColumns, pathKeyOf } from '../../../src/core/path-key.ts';
import { encodeProfileIndex } from '../../../src/core/profile-index.ts';
import { encodeProfileTable } from '../../../src/core/profile-table.ts';
import * as abi from '../../../src/fuse/abi.ts';
import { nodeHashing } from '../../../src/node/hashing.ts';
import { base256, END, header, member, pax } from '../tar-archive.ts';

export const HASH = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497';
export const FINGERPRINT = `${HASH.toUpperCase().replace(/..(?!$)/g, '$&:')}-SHAKE128`;
export const text = (value: string): Bytes => bytesOf(ascii(value));

export const MANIFEST = text(
  `C${HASH}\nB57344\nRd41d8cd98f00b204e9800998ecf8427e\nD240\nS3\nGyes\nAno\nNa.example.org\nX${HASH}\nH${HASH}\nT1700000000\n`,
);
/** With a line of 86 characters that is none of the key below. */
export const SIGNED_MANIFEST = concatBytes([MANIFEST, text(`e${'Ab/+'.repeat(21)}Aw==\n`)]);
export const WHITELIST = text(`20231114221320\nE20991231235959\nNa.example.org\n${FINGERPRINT} # mine\n`);

/** The text with the hash line that belongs to it, so that what is behind the hash check is reached. */
export function hashed(lines: Bytes): Bytes {
  return concatBytes([lines, text(`--\n${hashBytes(nodeHashing, 'sha1', lines)}\nsignature`)]);
}

function databaseOf(sql: string, fill: (database: DatabaseSync) => void = () => {}): Bytes {
  const database = new DatabaseSync(':memory:');
  try {
    // Small pages make many of them, and deep trees.
    database.exec(`PRAGMA page_size = 512; ${sql}`);
    fill(database);
    return database.serialize();
  } finally {
    database.close();
  }
}

const KEYED = 'CREATE TABLE properties (key TEXT, value TEXT);';
export const ROOT: PathKey = pathKeyOf(nodeHashing, ascii(''));
export const FILE: PathKey = pathKeyOf(nodeHashing, ascii('/n7'));

const CATALOG_TABLES = `${KEYED}
  CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER,
    hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    uid INTEGER, gid INTEGER, xattr BLOB, PRIMARY KEY (md5path_1, md5path_2));
  CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
  CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    PRIMARY KEY (md5path_1, md5path_2, offset, size));
  CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER);
  CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER);
  CREATE TABLE statistics (counter TEXT, value INTEGER);`;

/** Schema 2.5: overflow pages, deep trees, a chunked file, hard links, a nested catalog and a bind mount point. */
export const CATALOG = databaseOf(
  `${CATALOG_TABLES} INSERT INTO properties VALUES ('schema', '2.5'), ('schema_revision', '7'), ('revision', '3');
  INSERT INTO nested_catalogs VALUES ('/n12', '${HASH}', 4096);
  INSERT INTO bind_mountpoints VALUES ('/n13', '${HASH}', 4096);`,
  (database) => {
    const row = database.prepare(
      `INSERT INTO catalog VALUES (?, ?, ?, ?, ?, X'${HASH}', ?, ?, 9, 1, ?, ?, ?, 1000, 100, X'010101016131')`,
    );
    row.run(...pathKeyColumns(ROOT), ...pathKeyColumns(NO_PARENT), 2, 4096, 0o040755, 1, '', '');
    for (let i = 0; i < 40; i++) {
      const name = `n${i}`;
      const isDirectory = i === 12 || i === 13;
      const isLink = i % 10 === 0;
      // Every tenth row needs overflow pages.
      const symlink = isLink ? `${'long/'.repeat(300)}$(A:-b)` : '';
      const [mode, flags] = isDirectory
        ? [0o040755, i === 12 ? 3 : 0x4001]
        : isLink
          ? [0o120777, 12]
          : [0o100644, name === 'n7' ? 68 : 4];
      row.run(
        ...pathKeyColumns(pathKeyOf(nodeHashing, ascii(`/${name}`))),
        ...pathKeyColumns(ROOT),
        i < 3 ? 2 ** 32 + 3 : 1,
        name === 'n7' ? 300 : 5,
        mode,
        flags,
        name,
        symlink,
      );
    }
    const chunk = database.prepare(`INSERT INTO chunks VALUES (?, ?, ?, 10, X'${HASH}')`);
    for (let i = 0; i < 30; i++) chunk.run(...pathKeyColumns(FILE), 10 * i);
    const counter = database.prepare('INSERT INTO statistics VALUES (?, ?)');
    for (const name of COUNTER_NAMES) {
      counter.run(`self_${name}`, 7);
      counter.run(`subtree_${name}`, 2);
    }
  },
);

/** The first generation: fewer columns, no statistics. */
const LEGACY_CATALOG = databaseOf(
  `${KEYED} CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER,
    inode INTEGER, hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    PRIMARY KEY (md5path_1, md5path_2));
  CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
  CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT);
  INSERT INTO nested_catalogs VALUES ('/n1', '${HASH}');`,
  (database) => {
    const row = database.prepare(
      `INSERT INTO catalog VALUES (?, ?, ?, ?, 1, X'${HASH}', 5, 33188, 9, 4, ?, '')`,
    );
    row.run(...pathKeyColumns(ROOT), ...pathKeyColumns(NO_PARENT), '');
    const key = pathKeyColumns(pathKeyOf(nodeHashing, ascii('/n1')));
    row.run(...key, ...pathKeyColumns(ROOT), 'n1');
  },
);

export const CATALOGS: readonly Bytes[] = [CATALOG, CATALOG, CATALOG, LEGACY_CATALOG];

export const HISTORY = databaseOf(
  `${KEYED} INSERT INTO properties VALUES ('schema', '1.0'), ('fqrn', 'a.example.org'), ('previous_revision', '${HASH}');
  CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, description TEXT,
    size INTEGER, branch TEXT);
  CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER);
  INSERT INTO branches VALUES ('', NULL, 0), ('side', '', 2);
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
  INSERT INTO tags SELECT 'v' || i, '${HASH}', i, 1700000000 + i, 0, 'tag', 4096, '' FROM n`,
);

export const REFLOG = databaseOf(
  `${KEYED} INSERT INTO properties VALUES ('schema', '1.0'), ('schema_revision', '0'), ('fqrn', 'a.example.org');
  CREATE TABLE refs (hash TEXT, type INTEGER, timestamp INTEGER, PRIMARY KEY (hash));
  WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
  INSERT INTO refs SELECT i || substr('${HASH}', 3), i % 4, 1700000000 + i FROM n`,
);

export const CHECK_KIND = { fqrn: 'a.example.org', data: true };
export const CHECK_STATE = checkState().encode();

function checkState(): CheckState {
  const state = new CheckState(CHECK_KIND, 1_700_000_000, nodeHashing);
  for (let i = 10; i < 20; i++) state.add(`${i}${HASH.slice(2)}` as ContentHash, 'P5');
  state.completedSeconds = 1_700_000_100;
  return state;
}

export const TAR_ARCHIVES: readonly Bytes[] = [
  concatBytes([
    pax({
      path: 'usr/bin/ls',
      mtime: '-1.25',
      'SCHILY.xattr.user.a': '1',
      'LIBARCHIVE.xattr.user.b': 'MQ==',
    }),
    member({ name: 'short', prefix: 'usr' }, 'content of a file'),
    header({ name: 'usr', type: '5', mode: '0000755\0' }),
    header({ name: 'link', type: '2', link: 'target' }),
    END,
  ]),
  concatBytes([
    pax({ comment: 'for all' }, 'g'),
    member({ name: '././@LongLink', type: 'L' }, `${'long/'.repeat(40)}\0`),
    member({ name: 'long', uid: base256(70_000n, 8), mtime: base256(-5n, 12) }, 'x'.repeat(700)),
    header({ name: 'hard', type: '1', link: 'long' }),
    header({ name: 'null', type: '3', major: '0000001\0', minor: '0000003\0' }),
    header({ name: 'pipe', type: '6' }),
    END,
  ]),
  concatBytes([
    pax({
      'GNU.sparse.major': '1',
      'GNU.sparse.minor': '0',
      'GNU.sparse.name': 'holes',
      'GNU.sparse.realsize': '9000',
    }),
    member({ name: 'GNUSparseFile.0/holes' }, `${'2\n0\n3\n8000\n4\n'.padEnd(512, '\0')}abcdefg`),
    END,
  ]),
];

export const HTTP_RESPONSES: readonly Bytes[] = [
  'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/11\r\nContent-Length: 5\r\n\r\nhello',
  'HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nuntil the end',
  'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n',
].map(text);

/** One request of each kind that has more than a header. */
export const FUSE_REQUESTS: readonly Bytes[] = (
  [
    [
      abi.FUSE_INIT,
      abi.FuseInitIn.encode({ major: 7, minor: 41, maxReadahead: 131_072, flags: 0xffff_ffff }),
    ],
    [abi.FUSE_LOOKUP, text('n7\0')],
    [abi.FUSE_GETATTR, new Uint8Array(16)],
    [abi.FUSE_OPEN, new Uint8Array(8)],
    [abi.FUSE_READ, abi.FuseReadIn.encode({ offset: 20n, size: 4096 })],
    [abi.FUSE_READDIR, abi.FuseReadIn.encode({ size: 4096 })],
    [abi.FUSE_READDIRPLUS, abi.FuseReadIn.encode({ offset: 7n, size: 4096 })],
    [abi.FUSE_GETXATTR, concatBytes([abi.FuseGetxattrIn.encode({ size: 64 }), text('a\0')])],
    [abi.FUSE_LISTXATTR, abi.FuseGetxattrIn.encode({ size: 64 })],
    [abi.FUSE_READLINK, new Uint8Array(0)],
    [abi.FUSE_STATFS, new Uint8Array(0)],
    [abi.FUSE_INTERRUPT, abi.FuseInterruptIn.encode({ unique: 5n })],
    [abi.FUSE_BATCH_FORGET, new Uint8Array(24)],
  ] as const
).map(([opcode, body]) => {
  const nodeid = opcode === abi.FUSE_READDIR || opcode === abi.FUSE_READDIRPLUS ? 1n : 9n;
  const head = abi.FuseInHeader.encode({
    len: abi.FuseInHeader.size + body.length,
    opcode,
    unique: 77n,
    nodeid: opcode === abi.FUSE_LOOKUP ? 1n : nodeid,
    uid: 5,
    gid: 6,
    pid: 7,
  });
  return concatBytes([head, body]);
});

export const ZLIB: readonly Bytes[] = [
  deflateSync(text('hello '.repeat(200))),
  deflateSync(text('stored'), { level: 0 }),
  deflateSync(new Uint8Array(0)),
];

export const IMAGE_SETTINGS = text(
  JSON.stringify({
    fqrn: 'os.example.org',
    servers: ['http://host/cvmfs/@fqrn@'],
    proxies: ['http://proxy:3128'],
    tag: 'v1',
    rootHash: HASH,
  }),
);

/** Of keys that nobody has. */
export const CERTIFICATE_PEM = text(
  '-----BEGIN CERTIFICATE-----\nMIIB9jCCAV+gAwIBAgIURNyqmQII+JHvdv/fFbiBnCALzZowDQYJKoZIhvcNAQEL\nBQAwDDEKMAgGA1UEAwwBYTAgFw0yNjExMjIyMTE1NDVaGA8yMTI2MTAyOTIxMTU0\nNVowDDEKMAgGA1UEAwwBYTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA3Zuk\nYFZbx4j78glLBHpeSP04YoaW4XM6FQqtei8MFpucMUEHBQpu4JEF+3UnAghPmW6i\ncfpcuDNhL4tSxeDp0xcbJMY+90LsGQUpZ/aWq2gXd6LgEiGFdNhKAUPA1dKZitIH\nesxDDi7CZZrYw6PBFLr3CQoj1SGMWn/ci0/ZbUMCAwEAAaNTMFEwHQYDVR0OBBYE\nFCLG1KEO2utMyPbYNai7nYXoktlkMB8GA1UdIwQYMBaAFCLG1KEO2utMyPbYNai7\nnYXoktlkMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEAIAFlIhxt\nPPwX9cjgMFv3Q5M4FkXxOqd+JD0uDr1V0z0IX9voX+4l5JaKTxtuvr6UmcqC4Y2G\n5gM9VWFnLE/Cwx40iKLt0DKpoVFbIbu96dQgLEULM3dS2/iZixiAFnxgoK2c2l5g\nt42YSB0b1iZywJrGTfhWHrSs+CYjtY2drrQ=\n-----END CERTIFICATE-----\n',
);
export const PUBLIC_KEY_PEM = text(
  '-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDdm6RgVlvHiPvyCUsEel5I/Thi\nhpbhczoVCq16LwwWm5wxQQcFCm7gkQX7dScCCE+ZbqJx+ly4M2Evi1LF4OnTFxsk\nxj73QuwZBSln9paraBd3ouASIYV02EoBQ8DV0pmK0gd6zEMOLsJlmtjDo8EUuvcJ\nCiPVIYxaf9yLT9ltQwIDAQAB\n-----END PUBLIC KEY-----\n',
);
export const ED25519_KEY_PEM = text(
  '-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAz2i6EgfuiONrbL8hIqhYnhEF+qSlRL5E/axu/pvdpT8=\n-----END PUBLIC KEY-----\n',
);

// ---- profiles ----

const PROFILE_HASH = 'ab'.repeat(20) as ContentHash;
export const PROFILE_PACKS = [{ hash: PROFILE_HASH, sizeBytes: 30 }];
export const PROFILE_TABLE = encodeProfileTable(
  (['', 'C', 'P'] as const).map((type) => ({
    hash: PROFILE_HASH,
    type,
    compression: 'zlib',
    storedBytes: 10,
    sizeBytes: 20,
  })),
);
export const PROFILE_INDEX = encodeProfileIndex({
  profiles: [
    {
      name: 'boot',
      rootCatalog: PROFILE_HASH,
      revision: 3,
      createdSeconds: 1_700_000_000,
      objects: 3,
      storedBytes: 30,
      sizeBytes: 60,
      table: PROFILE_HASH,
      packs: PROFILE_PACKS,
    },
  ],
  retired: [{ hash: PROFILE_HASH, sinceSeconds: 1_700_000_000 }],
});
export const RECORDING = text(
  `thimble recording 1\nrepository os.example.org\nroot ${PROFILE_HASH}\n${PROFILE_HASH}C\n${PROFILE_HASH}\n`,
);
export const ACCESS_LOG = text(
  `"GET /cvmfs/os.example.org/data/ab/${PROFILE_HASH.slice(2)}C HTTP/1.1" 200\n{"method":"GET","url":"/cvmfs/os.example.org/data/ab/${PROFILE_HASH.slice(2)}","status":200}\n`,
);
