import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import fc from 'fast-check';
import { openClient, type PublishedRepository } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { CHUNKED, publishSmallTree, XATTRS } from '../../test/support/small-tree.ts';
import { type ByteString, byteStringOf } from '../core/bytes/byte-string.ts';
import { CatalogReader } from '../core/catalog/catalog-reader.ts';
import type { ContentHash } from '../core/content-hash.ts';
import {
  type Attributes,
  type NodeId,
  NotYet,
  ROOT_NODE,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../core/vfs.ts';
import { nodeHashing } from '../node/hashing.ts';
import type { Attachment } from './catalog-tree.ts';
import type { Objects } from './objects.ts';
import { SnapshotVfs } from './snapshot-vfs.ts';

const scope = fileScope();
let published: PublishedRepository;
let rootHash: ContentHash;
/** Catalogs by the path they are mounted on; the vfs gets them from the tests. */
let objects: Objects;

before(async () => {
  published = await publishSmallTree(scope);
  const client = openClient(published);
  objects = client.objects;
  rootHash = (await client.repository.resolve({})).rootCatalog;
});

const catalogOf = async (hash: ContentHash) =>
  CatalogReader.open(await objects.load(hash, 'C', 1e9, 'catalog'));

const ROOT = '' as ByteString;

interface Bench {
  readonly vfs: SnapshotVfs;
  /** What was attached, in order. */
  readonly attachments: Attachment[];
  /** Asks until the answer is there, and brings what is needed. */
  settle<T>(ask: () => T | NotYet): Promise<T>;
  find(path: string): Promise<Attributes | undefined>;
}

async function openVfs(variables: Readonly<Record<string, string>> = {}): Promise<Bench> {
  const vfs = new SnapshotVfs({
    hashing: nodeHashing,
    cache: objects,
    variable: (name) => variables[name] as ByteString | undefined,
  });
  const attachments: Attachment[] = [];
  const attach = async (mountpoint: ByteString, hash: ContentHash) => {
    const attachment = { mountpoint, hash, reader: await catalogOf(hash) };
    attachments.push(attachment);
    vfs.catalogs.attach(attachment);
  };
  await attach(ROOT, rootHash);
  const settle = async <T>(ask: () => T | NotYet): Promise<T> => {
    for (;;) {
      const answer = ask();
      if (!(answer instanceof NotYet)) return answer;
      if (answer.need.kind === 'object') await objects.fetch(answer.need);
      else await attach(answer.need.mountpoint, answer.need.hash);
    }
  };
  const find = async (path: string) => {
    let found: Attributes | undefined = { ...vfs.getattr(ROOT_NODE)! };
    for (const name of path.split('/').filter((part) => part !== '')) {
      const { node }: Attributes = found;
      const next: Attributes | undefined = await settle(() => vfs.lookup(node, Buffer.from(name)));
      if (next === undefined) return undefined;
      // Attributes are reused by the next call.
      found = { ...next };
    }
    return found;
  };
  return { vfs, attachments, settle, find };
}

/** Names in a directory, in the order of the listing. */
async function list({ vfs, settle }: Bench, node: NodeId): Promise<string[]> {
  return settle(() => {
    const names: string[] = [];
    const answer = vfs.readdir(node, 0, (bytes, start, length) => {
      names.push(byteStringOf(bytes, start, start + length));
      return true;
    });
    return answer instanceof NotYet ? answer : names;
  });
}

async function textOf({ vfs, settle }: Bench, node: NodeId): Promise<string> {
  const into = Buffer.alloc(1_000);
  const count = await settle(() => vfs.read(node, 0, into.length, into, 0));
  return into.toString('latin1', 0, count);
}

test('the root is node 1, and a directory', async () => {
  const { vfs } = await openVfs();
  const root = vfs.getattr(ROOT_NODE)!;
  assert.deepEqual([root.node, root.inodeHigh, root.inodeLow], [1, 0, 1]);
  assert.equal(root.mode & S_IFMT, S_IFDIR);
});

test('lookup() gives the attributes that were published', async () => {
  const found = (await (await openVfs()).find('/a.txt'))!;
  assert.equal(found.mode, S_IFREG | 0o640);
  assert.equal(found.sizeBytes, 5);
  assert.equal(found.linkCount, 1);
  assert.deepEqual([found.mtimeSeconds, found.mtimeNs], [1_600_000_000, 0]);
});

test('lookup() answers undefined for what is not there', async () => {
  const bench = await openVfs();
  for (const path of [
    '/nothing',
    '/etc/nothing',
    '/a.txt/below',
    '/link/below',
    '/usr/nothing',
    '/usr/bin/no',
  ]) {
    assert.equal(await bench.find(path), undefined, path);
  }
  for (const name of ['', 'a.txt\0', 'A.TXT', 'x'.repeat(70_000)]) {
    assert.equal(bench.vfs.lookup(ROOT_NODE, Buffer.from(name)), undefined);
  }
  assert.equal(bench.vfs.lookup(ROOT_NODE, Buffer.from('a.txt')) instanceof NotYet, false, 'it goes on');
});

test('nodes that never were are not there', async () => {
  const { vfs } = await openVfs();
  for (const node of [0, 2 ** 31, 2 ** 32 + 5, 2 ** 52] as NodeId[]) {
    assert.equal(vfs.getattr(node), undefined);
    assert.equal(vfs.lookup(node, Buffer.from('a.txt')), undefined);
    assert.equal(vfs.readlink(node), undefined);
    assert.equal(vfs.getxattr(node, 'user.comment' as ByteString), undefined);
    assert.deepEqual(vfs.listxattr(node), []);
    assert.equal(
      vfs.readdir(node, 0, () => true),
      false,
    );
    assert.throws(() => vfs.read(node, 0, 1, Buffer.alloc(1), 0), { code: 'USAGE' });
  }
});

test('lookup() goes to the parent by "..", across catalogs too, and stays by "."', async () => {
  const bench = await openVfs();
  for (const [path, parent] of [
    ['/', '/'],
    ['/etc', '/'],
    ['/usr', '/'],
    ['/usr/bin', '/usr'],
    ['/usr/share', '/usr'],
    ['/usr/share/doc', '/usr/share'],
  ] as const) {
    const [node, above] = [(await bench.find(path))!.node, (await bench.find(parent))!.node];
    assert.equal((await bench.settle(() => bench.vfs.lookup(node, Buffer.from('..'))))?.node, above, path);
    assert.equal((await bench.settle(() => bench.vfs.lookup(node, Buffer.from('.'))))?.node, node, path);
  }
});

test('lookup() does not find files by ".": overlayfs would take them for stale later', async () => {
  const bench = await openVfs();
  const { node } = (await bench.find('/a.txt'))!;
  assert.equal(await bench.settle(() => bench.vfs.lookup(node, Buffer.from('.'))), undefined);
});

test('readdir() lists every entry once, without "." and ".."', async () => {
  const bench = await openVfs();
  assert.deepEqual((await list(bench, ROOT_NODE)).sort(), [
    'a.txt',
    'chunked',
    'empty',
    'etc',
    'first-name',
    'link',
    'loop',
    'second-name',
    'usr',
    'variable-link',
  ]);
  const usr = (await bench.find('/usr'))!;
  assert.deepEqual((await list(bench, usr.node)).sort(), ['.cvmfscatalog', 'bin', 'share']);
});

for (const name of ['e/pty', 'em\0ty', '\0\0\0\0\0']) {
  test(`readdir() refuses a catalog with an entry named ${JSON.stringify(name)}`, async () => {
    const bytes = Buffer.from(await objects.load(rootHash, 'C', 1e9, 'catalog'));
    const at = bytes.indexOf('empty');
    assert.ok(at > 0);
    // The row alone is changed, as by a publisher that means harm: its key stays.
    bytes.write(name, at, 'latin1');
    const vfs = new SnapshotVfs({ hashing: nodeHashing, cache: objects });
    vfs.catalogs.attach({ mountpoint: ROOT, hash: rootHash, reader: CatalogReader.open(bytes) });
    assert.throws(() => vfs.readdir(ROOT_NODE, 0, () => true), { code: 'FORMAT', message: /has an entry/ });
  });
}

test('readdir() goes on behind any cookie, and stops when it is told to', async () => {
  const { vfs } = await openVfs();
  const seen: { readonly name: string; readonly cookie: number }[] = [];
  const step = (after: number, count: number) => {
    let left = count;
    vfs.readdir(ROOT_NODE, after, (bytes, start, length, _, cookie) => {
      seen.push({ name: byteStringOf(bytes, start, start + length), cookie });
      return --left > 0;
    });
  };
  step(0, 100);
  const whole = seen.splice(0);
  for (const size of [1, 2, 3]) {
    for (let after = 0; after !== undefined; ) {
      const before: number = seen.length;
      step(after, size);
      if (seen.length === before) break;
      assert.ok(seen.length - before <= size);
      after = seen.at(-1)!.cookie;
    }
    assert.deepEqual(seen.splice(0), whole);
  }
});

test('readdir() shows the same attributes and nodes as lookup() and getattr()', async () => {
  const bench = await openVfs();
  const entries: Attributes[] = [];
  const names: string[] = [];
  bench.vfs.readdir(ROOT_NODE, 0, (bytes, start, length, attributes) => {
    names.push(byteStringOf(bytes, start, start + length));
    entries.push({ ...attributes });
    return true;
  });
  for (const [i, name] of names.entries()) {
    assert.deepEqual(await bench.find(`/${name}`), entries[i], name);
    // A transition point shows what the parent catalog says of it.
    assert.deepEqual({ ...bench.vfs.getattr(entries[i]!.node)! }, entries[i], name);
  }
});

test('readdir() answers false for what is no directory', async () => {
  const bench = await openVfs();
  for (const path of ['/a.txt', '/link']) {
    assert.equal(
      bench.vfs.readdir((await bench.find(path))!.node, 0, () => true),
      false,
    );
  }
});

test('readlink() gives the target with variables replaced, and its length is the size', async () => {
  for (const [variables, expected] of [
    [{}, 'nowhere/x'],
    [{ PLACE: '/somewhere' }, '/somewhere/x'],
  ] as const) {
    const bench = await openVfs(variables);
    const found = (await bench.find('/variable-link'))!;
    assert.equal(found.mode & S_IFMT, S_IFLNK);
    assert.equal(bench.vfs.readlink(found.node), expected);
    assert.equal(found.sizeBytes, expected.length);
  }
  const bench = await openVfs();
  assert.equal(bench.vfs.readlink((await bench.find('/link'))!.node), 'a.txt');
  for (const path of ['/a.txt', '/etc'])
    assert.equal(bench.vfs.readlink((await bench.find(path))!.node), undefined);
});

test('getxattr() and listxattr() give what was published, on that file only', async () => {
  const bench = await openVfs();
  const { node } = (await bench.find('/a.txt'))!;
  assert.deepEqual([...bench.vfs.listxattr(node)].sort(), [...XATTRS.keys()].sort());
  for (const [name, value] of XATTRS) assert.deepEqual(Buffer.from(bench.vfs.getxattr(node, name)!), value);
  assert.equal(bench.vfs.getxattr(node, 'user.other' as ByteString), undefined);
  const other = (await bench.find('/empty'))!.node;
  assert.deepEqual(bench.vfs.listxattr(other), []);
  assert.equal(bench.vfs.getxattr(other, 'user.comment' as ByteString), undefined);
});

test('names of one file are one node, with the number of its names', async () => {
  const bench = await openVfs();
  const [first, second] = [(await bench.find('/first-name'))!, (await bench.find('/second-name'))!];
  assert.deepEqual(first, second);
  assert.equal(first.linkCount, 2);
  assert.equal(await textOf(bench, second.node), 'linked');
});

test('read() says which object it needs, and reads when it is here', async () => {
  const { vfs, ...bench } = await openVfs();
  const { node } = (await bench.find('/etc/passwd'))!;
  const fresh = new SnapshotVfs({ hashing: nodeHashing, cache: { read: () => undefined } });
  fresh.catalogs.attach({ mountpoint: ROOT, hash: rootHash, reader: await catalogOf(rootHash) });
  const into = Buffer.alloc(100, 0xee);
  const answer = fresh.read(node, 0, 100, into, 10);
  assert.ok(answer instanceof NotYet);
  assert.ok(answer.need.kind === 'object');
  assert.deepEqual(
    { ...answer.need, hash: undefined },
    {
      place: { node, chunk: 0 },
      kind: 'object',
      hash: undefined,
      type: '',
      compression: 'zlib',
      sizeBytes: 11,
    },
  );
  assert.deepEqual(into, Buffer.alloc(100, 0xee), 'nothing is written ahead of time');
  await objects.fetch(answer.need);
  assert.equal(vfs.read(node, 0, 100, into, 10), 11);
  assert.equal(into.toString('latin1', 10, 21), 'root:x:0:0\n');
});

test('read() needs the chunks that it touches, one after the other, and no others', async () => {
  const cached = new Set<string>();
  const vfs = new SnapshotVfs({
    hashing: nodeHashing,
    cache: {
      read: (id, position, length, into, at) =>
        cached.has(id) ? objects.read(id, position, length, into, at) : undefined,
    },
  });
  vfs.catalogs.attach({ mountpoint: ROOT, hash: rootHash, reader: await catalogOf(rootHash) });
  const found = vfs.lookup(ROOT_NODE, Buffer.from('chunked'));
  assert.ok(found !== undefined && !(found instanceof NotYet));
  const { node } = found;
  const pieces = vfs.chunksOf(node);
  assert.ok(pieces.length >= 5, 'it has chunks');
  assert.ok(pieces.every(({ need, sizeBytes }) => need.type === 'P' && sizeBytes <= 64 * 1024));
  // From the last byte of the second chunk to the first byte of the fourth.
  const start = pieces[0]!.sizeBytes + pieces[1]!.sizeBytes - 1;
  const length = pieces[2]!.sizeBytes + 2;
  const into = Buffer.alloc(length);
  for (const expected of pieces.slice(1, 4)) {
    const answer = vfs.read(node, start, length, into, 0);
    assert.ok(answer instanceof NotYet && answer.need.kind === 'object');
    assert.equal(answer.need.hash, expected.hash);
    await objects.fetch(answer.need);
    cached.add(expected.hash);
  }
  assert.equal(vfs.read(node, start, length, into, 0), length);
  assert.ok(into.equals(CHUNKED.subarray(start, start + length)));
});

test('read() reads any part of a chunked file as if it were whole', async () => {
  const bench = await openVfs();
  const { node, sizeBytes } = (await bench.find('/chunked'))!;
  assert.equal(sizeBytes, CHUNKED.length);
  const end = CHUNKED.length + 1_000;
  await fc.assert(
    fc.asyncProperty(fc.nat(end), fc.nat(end), async (offset, length) => {
      const into = Buffer.alloc(length);
      const count = await bench.settle(() => bench.vfs.read(node, offset, length, into, 0));
      assert.ok(into.subarray(0, count).equals(CHUNKED.subarray(offset, offset + length)));
    }),
    {
      numRuns: 100,
      examples: [
        [0, end],
        [CHUNKED.length, 1],
        [CHUNKED.length - 1, 1],
        [0, 0],
      ],
    },
  );
});

test('read() needs nothing to read nothing', async () => {
  const { vfs, find } = await openVfs();
  for (const path of ['/empty', '/etc/passwd', '/chunked']) {
    const { node, sizeBytes } = (await find(path))!;
    assert.equal(vfs.read(node, sizeBytes, 10, Buffer.alloc(10), 0), 0, path);
    assert.equal(vfs.read(node, 0, 0, Buffer.alloc(0), 0), 0, path);
  }
});

test('read() discards cached content that is shorter than the catalog says, and asks for it again', async () => {
  const discarded: string[] = [];
  const cache = {
    read: (_: unknown, __: number, length: number) => length - 1,
    discard: (id: string) => void discarded.push(id),
  };
  const vfs = new SnapshotVfs({ hashing: nodeHashing, cache });
  vfs.catalogs.attach({ mountpoint: ROOT, hash: rootHash, reader: await catalogOf(rootHash) });
  const { node } = vfs.lookup(ROOT_NODE, Buffer.from('a.txt')) as Attributes;
  const answer = vfs.read(node, 0, 5, Buffer.alloc(5), 0);
  assert.ok(answer instanceof NotYet && answer.need.kind === 'object');
  assert.deepEqual(discarded, [answer.need.hash]);
});

test('read() refuses what is no regular file', async () => {
  const { vfs, find } = await openVfs();
  for (const path of ['/etc', '/link']) {
    const { node } = (await find(path))!;
    assert.throws(() => vfs.read(node, 0, 1, Buffer.alloc(1), 0), { code: 'USAGE' });
  }
});

test('a transition point needs its catalog for its entries, but not for itself', async () => {
  const { vfs, settle } = await openVfs();
  const usr = { ...(vfs.lookup(ROOT_NODE, Buffer.from('usr')) as Attributes) };
  assert.equal(usr.mode & S_IFMT, S_IFDIR);
  assert.equal(vfs.isAttached(usr.node), false);
  const answers = [vfs.lookup(usr.node, Buffer.from('bin')), vfs.readdir(usr.node, 0, () => true)];
  for (const answer of answers) {
    assert.ok(answer instanceof NotYet && answer.need.kind === 'catalog');
    assert.equal(answer.need.mountpoint, '/usr');
  }
  assert.equal(vfs.catalogs.count, 1);
  await settle(() => vfs.lookup(usr.node, Buffer.from('bin')));
  assert.deepEqual([vfs.catalogs.count, vfs.isAttached(usr.node)], [2, true]);
  assert.deepEqual({ ...vfs.getattr(usr.node)! }, usr, 'it looks the same after it');
});

test('paths lead back from nodes, through nested catalogs', async () => {
  const bench = await openVfs();
  for (const path of [
    '',
    '/a.txt',
    '/etc/passwd',
    '/usr',
    '/usr/bin/sh',
    '/usr/share',
    '/usr/share/doc/readme',
  ]) {
    assert.equal(bench.vfs.pathOf((await bench.find(path))!.node), path);
  }
  assert.equal(await textOf(bench, (await bench.find('/usr/share/doc/readme'))!.node), 'read me');
});

test('attaching a catalog twice changes nothing', async () => {
  const { vfs, attachments, find } = await openVfs();
  const before = (await find('/usr/bin/sh'))!;
  for (const attachment of attachments) vfs.catalogs.attach(attachment);
  assert.equal(vfs.catalogs.count, attachments.length);
  assert.deepEqual(await find('/usr/bin/sh'), before);
});

test('two that attach the same catalogs in the same order agree on every node', async () => {
  const first = await openVfs();
  const paths = ['/usr/share/doc/readme', '/usr/bin/sh', '/etc/passwd', '/first-name'];
  for (const path of paths) await first.find(path);
  const second = new SnapshotVfs({ hashing: nodeHashing, cache: objects });
  for (const attachment of first.attachments) {
    second.catalogs.attach({ ...attachment, reader: await catalogOf(attachment.hash) });
  }
  for (const path of paths) {
    const found = (await first.find(path))!;
    assert.deepEqual({ ...second.getattr(found.node)! }, found);
    assert.equal(second.pathOf(found.node), path);
  }
});

test('inode numbers are the same whatever is visited first, and differ between files', async () => {
  const paths = ['/a.txt', '/etc', '/usr', '/usr/bin', '/usr/bin/sh', '/usr/share', '/usr/share/doc/readme'];
  const inodes = async (order: readonly string[]) => {
    const { find } = await openVfs();
    for (const path of order) await find(path);
    const numbers: string[] = [];
    for (const path of paths) {
      const { inodeHigh, inodeLow } = (await find(path))!;
      numbers.push(`${inodeHigh}:${inodeLow}`);
    }
    return numbers;
  };
  const forward = await inodes(paths);
  assert.deepEqual(await inodes([...paths].reverse()), forward);
  assert.equal(new Set(forward).size, paths.length);
});

test('nestedCatalogOf() names the catalog of a transition point, and none elsewhere', async () => {
  const { vfs, attachments, find } = await openVfs();
  const usr = (await find('/usr'))!;
  const share = (await find('/usr/share'))!;
  await find('/usr/share/doc');
  assert.deepEqual(
    [usr, share].map(({ node }) => vfs.nestedCatalogOf(node)),
    attachments.slice(1).map(({ hash }) => hash),
  );
  for (const path of ['/', '/etc', '/usr/bin'])
    assert.equal(vfs.nestedCatalogOf((await find(path))!.node), undefined);
});

test('statfs() counts what the whole tree holds', async () => {
  const { vfs } = await openVfs();
  const { blockSizeBytes, blocks, files } = vfs.statfs();
  assert.equal(blockSizeBytes, 4096);
  assert.ok(blocks * blockSizeBytes >= CHUNKED.length);
  assert.ok(files >= 20 && files < 30, `${files} files`);
});
