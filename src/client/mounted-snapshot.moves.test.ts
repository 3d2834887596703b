import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { openClient } from '../../test/support/client-repository.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import {
  FQRN,
  type PublisherRepository,
  publisherRepository,
} from '../../test/support/publisher-repository.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import { type ByteString, byteStringOf, bytesOf } from '../core/bytes/byte-string.ts';
import { type ContentHash, objectPath } from '../core/content-hash.ts';
import type { TreeEntry } from '../core/tree.ts';
import { type Attributes, type NodeId, NotYet, ROOT_NODE, S_IFDIR, S_IFMT, S_IFREG } from '../core/vfs.ts';
import { nodeHashing } from '../node/hashing.ts';
import { MAX_VERSIONS } from './catalog-tree.ts';
import { MountedSnapshot } from './mounted-snapshot.ts';
import type { RevisionChanges } from './revision-changes.ts';

const snapshotOf = (rootCatalog: ContentHash) => ({ rootCatalog, revision: undefined, tag: undefined });

function mount({ storage, publicKey }: PublisherRepository, root: ContentHash): Promise<MountedSnapshot> {
  const { objects } = openClient({ fqrn: FQRN, storage, publicKey: readFileSync(publicKey) });
  return MountedSnapshot.open(snapshotOf(root), objects, { hashing: nodeHashing });
}

async function settle<T>(mounted: MountedSnapshot, ask: () => T | NotYet): Promise<T> {
  for (;;) {
    const answer = ask();
    if (!(answer instanceof NotYet)) return answer;
    await mounted.fulfil(answer.need);
  }
}

/** What a kernel remembers of a file system that lets it keep everything for ever. */
class Kernel {
  readonly mounted: MountedSnapshot;
  readonly #entries = new Map<string, Attributes | undefined>();
  readonly #attributes = new Map<NodeId, Attributes>();
  readonly #listings = new Map<NodeId, string[]>();

  constructor(mounted: MountedSnapshot) {
    this.mounted = mounted;
  }

  async lookup(parent: NodeId, name: string): Promise<Attributes | undefined> {
    const key = `${parent}/${name}`;
    if (!this.#entries.has(key)) {
      const found = await settle(this.mounted, () => this.mounted.vfs.lookup(parent, Buffer.from(name)));
      const copy = found === undefined ? undefined : { ...found };
      this.#entries.set(key, copy);
      if (copy !== undefined) this.#attributes.set(copy.node, copy);
    }
    const known = this.#entries.get(key);
    return known === undefined ? undefined : this.getattr(known.node);
  }

  async getattr(node: NodeId): Promise<Attributes> {
    const known = this.#attributes.get(node) ?? { ...this.mounted.vfs.getattr(node)! };
    this.#attributes.set(node, known);
    return known;
  }

  async list(node: NodeId): Promise<string[]> {
    const known = this.#listings.get(node);
    if (known !== undefined) return known;
    const names = await settle(this.mounted, () => {
      const found: string[] = [];
      const answer = this.mounted.vfs.readdir(node, 0, (bytes, start, length) => {
        found.push(byteStringOf(bytes, start, start + length));
        return true;
      });
      return answer instanceof NotYet ? answer : found.sort();
    });
    this.#listings.set(node, names);
    return names;
  }

  async read(node: NodeId, sizeBytes: number): Promise<string> {
    const into = Buffer.alloc(sizeBytes);
    const count = await settle(this.mounted, () => this.mounted.vfs.read(node, 0, sizeBytes, into, 0));
    return into.toString('latin1', 0, count);
  }

  forget(changes: RevisionChanges): void {
    for (const [node, names] of changes) {
      this.#attributes.delete(node);
      this.#listings.delete(node);
      for (const name of names) this.#drop(node, name);
    }
  }

  /** With a name, all below it is forgotten too. */
  #drop(parent: NodeId, name: string): void {
    const known = this.#entries.get(`${parent}/${name}`);
    this.#entries.delete(`${parent}/${name}`);
    if (known === undefined) return;
    this.#attributes.delete(known.node);
    for (const key of [...this.#entries.keys()]) {
      const [below, child = ''] = key.split('/');
      if (below === String(known.node)) this.#drop(known.node, child);
    }
    this.#listings.delete(known.node);
  }
}

const NAMES = ['a', 'b', 'd', 'e'];

/** Everything that can be seen from a directory down, by names that are there and by such that are not. */
async function look(kernel: Kernel, node: NodeId = ROOT_NODE, path = ''): Promise<Map<string, string>> {
  const seen = new Map<string, string>();
  const attributes = await kernel.getattr(node);
  // Which number an inode has is not part of a revision.
  const { node: _, inodeHigh: __, inodeLow: ___, ...shown } = attributes;
  const type = attributes.mode & S_IFMT;
  let more = '';
  if (type === S_IFREG) more = await kernel.read(node, attributes.sizeBytes);
  else if (type === S_IFDIR) more = (await kernel.list(node)).join();
  else more = kernel.mounted.vfs.readlink(node) ?? '';
  seen.set(path, JSON.stringify([shown, more]));
  if (type !== S_IFDIR) return seen;
  for (const name of NAMES) {
    const child = await kernel.lookup(node, name);
    if (child === undefined) seen.set(`${path}/${name}`, 'none');
    else for (const entry of await look(kernel, child.node, `${path}/${name}`)) seen.set(...entry);
  }
  return seen;
}

type Kind = 'none' | 'dir' | 'catalog' | 'text' | 'other' | 'chunks' | 'link';

/** A state for each of `NAMES` in each directory, three deep. */
function treeOf(kinds: readonly Kind[], mtimes: readonly number[]): TreeEntry[] {
  let next = 0;
  const below = (folder: string, depth: number): TreeEntry[] =>
    NAMES.flatMap((name) => {
      const path = `${folder}/${name}`;
      const at = next++;
      const kind = kinds[at % kinds.length]!;
      const values = { mtimeSeconds: mtimes[at % mtimes.length]! };
      if (kind === 'none' || depth === 3) return [];
      if (kind === 'text' || kind === 'other') return [entry(path, { ...values, content: kind })];
      if (kind === 'chunks') return [entry(path, { ...values, content: noise(60_000, 1 + (at % 2)) })];
      if (kind === 'link') return [entry(path, { ...values, symlink: `to-${at % 3}` })];
      const marker = kind === 'catalog' ? [entry(`${path}/.cvmfscatalog`, { content: '' })] : [];
      return [entry(path, values), ...marker, ...below(path, depth + 1)];
    });
  return [entry(''), ...below('', 0)];
}

const revisionArbitrary = fc.record({
  kinds: fc.array(
    fc.constantFrom<Kind>('none', 'dir', 'dir', 'catalog', 'catalog', 'text', 'other', 'chunks', 'link'),
    { minLength: 3, maxLength: 30 },
  ),
  mtimes: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }),
});

test('moveTo() names all that has changed: whoever forgets that sees the new revision, and open files stay', async (t) => {
  const scratch = memoryScratch(t);
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(revisionArbitrary, { minLength: 2, maxLength: 5 }), async (revisions) => {
      const repository = await publisherRepository(scratch, {}, `r${runs++}`);
      let kernel: Kernel | undefined;
      const open: { node: NodeId; text: string }[] = [];
      for (const { kinds, mtimes } of revisions) {
        const { rootCatalog } = await repository.publish(memoryTree(treeOf(kinds, mtimes)));
        if (kernel === undefined) kernel = new Kernel(await mount(repository, rootCatalog));
        else kernel.forget(await kernel.mounted.moveTo(snapshotOf(rootCatalog)));
        const fresh = new Kernel(await mount(repository, rootCatalog));
        assert.deepEqual(await look(kernel), await look(fresh));
        for (const { node, text } of open) assert.equal(await kernel.read(node, text.length), text);
        for (const name of NAMES) {
          const found = await kernel.lookup(ROOT_NODE, name);
          if (found === undefined || (found.mode & S_IFMT) !== S_IFREG) continue;
          open.push({ node: found.node, text: await kernel.read(found.node, found.sizeBytes) });
        }
      }
    }),
    { numRuns: 20 },
  );
});

async function published(t: TestContext, ...trees: readonly (readonly TreeEntry[])[]) {
  const repository = await publisherRepository(memoryScratch(t));
  const roots: ContentHash[] = [];
  for (const tree of trees) {
    roots.push((await repository.publish(memoryTree([entry(''), ...tree]))).rootCatalog);
  }
  return { repository, roots };
}

const find = async (mounted: MountedSnapshot, path: string): Promise<Attributes | undefined> => {
  let found: Attributes | undefined = { ...mounted.vfs.getattr(ROOT_NODE)! };
  for (const name of path.split('/').slice(1)) {
    const { node }: Attributes = found;
    const next: Attributes | undefined = await settle(mounted, () =>
      mounted.vfs.lookup(node, Buffer.from(name)),
    );
    if (next === undefined) return undefined;
    found = { ...next };
  }
  return found;
};

const NESTED = [entry('/n'), entry('/n/.cvmfscatalog', { content: '' }), entry('/n/same', { content: 'x' })];

test('what is the same keeps its node and inode, directories too, and what is not gets another', async (t) => {
  const { repository, roots } = await published(
    t,
    [...NESTED, entry('/n/file', { content: 'old' })],
    [...NESTED, entry('/n/file', { content: 'new' }), entry('/first', { content: '' })],
  );
  const mounted = await mount(repository, roots[0]!);
  const paths = ['/n', '/n/same', '/n/file'];
  const findAll = async () => {
    const found: (Attributes | undefined)[] = [];
    for (const path of paths) found.push(await find(mounted, path));
    return found;
  };
  const before = await findAll();
  await mounted.moveTo(snapshotOf(roots[1]!));
  const after = await findAll();
  const same = before.map((was, i) => was!.node === after[i]!.node && was!.inodeLow === after[i]!.inodeLow);
  assert.deepEqual(same, [true, true, false]);
  assert.equal(mounted.vfs.pathOf(before[2]!.node), '/n/file', 'the old one is still there');
});

test('a listing that was begun before goes on in its revision', async (t) => {
  const files = (prefix: string) =>
    Array.from({ length: 5 }, (_, i) => entry(`/${prefix}${i}`, { content: 'x' }));
  const { repository, roots } = await published(t, files('old'), files('new'));
  const mounted = await mount(repository, roots[0]!);
  const names: string[] = [];
  const list = (after: number, count: number): number => {
    let last = after;
    mounted.vfs.readdir(ROOT_NODE, after, (bytes, start, length, _, cookie) => {
      if (count-- === 0) return false;
      names.push(byteStringOf(bytes, start, start + length));
      last = cookie;
      return true;
    });
    return last;
  };
  const cookie = list(0, 2);
  await mounted.moveTo(snapshotOf(roots[1]!));
  list(cookie, 5);
  assert.deepEqual(names.sort(), ['old0', 'old1', 'old2', 'old3', 'old4']);
  names.length = 0;
  list(list(0, 2), 5);
  assert.deepEqual(names.sort(), ['new0', 'new1', 'new2', 'new3', 'new4']);
});

test('a directory that is gone stays what it was for those who are in it', async (t) => {
  const { repository, roots } = await published(t, NESTED, [entry('/other', { content: '' })]);
  const mounted = await mount(repository, roots[0]!);
  const { node } = (await find(mounted, '/n'))!;
  await mounted.moveTo(snapshotOf(roots[1]!));
  assert.equal(await find(mounted, '/n'), undefined);
  const found = await settle(mounted, () => mounted.vfs.lookup(node, Buffer.from('same')));
  assert.equal(found?.sizeBytes, 1);
});

test('a catalog that cannot be had leaves the revision shown as it is', async (t) => {
  const { repository, roots } = await published(t, NESTED, [...NESTED, entry('/n/new', { content: 'n' })]);
  const mounted = await mount(repository, roots[0]!);
  await find(mounted, '/n/same');
  const next = await mount(repository, roots[1]!);
  const nested = next.vfs.nestedCatalogOf((await find(next, '/n'))!.node)!;
  rmSync(join(repository.storage, objectPath(nested, 'C')));
  await assert.rejects(mounted.moveTo(snapshotOf(roots[1]!)), { code: 'NOT_FOUND' });
  assert.equal(mounted.snapshot.rootCatalog, roots[0]);
  assert.equal(await find(mounted, '/n/new'), undefined);
  assert.equal((await find(mounted, '/n/same'))?.sizeBytes, 1);
});

test('going back to a revision that was shown before shows it with its nodes', async (t) => {
  const { repository, roots } = await published(
    t,
    [...NESTED, entry('/n/file', { content: 'old' })],
    [...NESTED, entry('/n/file', { content: 'new' })],
  );
  const mounted = await mount(repository, roots[0]!);
  const before = await find(mounted, '/n/file');
  await mounted.moveTo(snapshotOf(roots[1]!));
  assert.notEqual((await find(mounted, '/n/file'))!.node, before!.node);
  await mounted.moveTo(snapshotOf(roots[0]!));
  assert.deepEqual(await find(mounted, '/n/file'), before);
});

test('of very many revisions the oldest are forgotten, and their nodes are stale', async (t) => {
  const trees = Array.from({ length: MAX_VERSIONS + 2 }, (_, i) => [entry('/f', { content: String(i) })]);
  const { repository, roots } = await published(t, ...trees);
  const mounted = await mount(repository, roots[0]!);
  const { node } = (await find(mounted, '/f'))!;
  for (const root of roots.slice(1, -2)) await mounted.moveTo(snapshotOf(root));
  assert.ok(mounted.vfs.getattr(node) !== undefined);
  for (const root of roots.slice(-2)) await mounted.moveTo(snapshotOf(root));
  assert.equal(mounted.vfs.getattr(node), undefined);
  assert.equal((await find(mounted, '/f'))!.sizeBytes, 2);
});

test('a catalog of another place is refused before anybody gets it', async (t) => {
  const { repository, roots } = await published(t, NESTED);
  const { objects } = openClient({
    fqrn: FQRN,
    storage: repository.storage,
    publicKey: readFileSync(repository.publicKey),
  });
  const given: string[] = [];
  const mounted = await MountedSnapshot.open(snapshotOf(roots[0]!), objects, {
    hashing: nodeHashing,
    onCatalog: ({ mountpoint, bytes }) => {
      given.push(mountpoint);
      return bytes;
    },
  });
  const hash = mounted.vfs.nestedCatalogOf((await find(mounted, '/n'))!.node)!;
  const need = { kind: 'catalog' as const, hash, sizeBytes: 0, mountpoint: '/elsewhere' as ByteString };
  await assert.rejects(mounted.fulfil(need), { code: 'FORMAT' });
  assert.deepEqual(given, ['']);
  assert.deepEqual(bytesOf(mounted.vfs.pathOf(ROOT_NODE)), new Uint8Array(0));
});
