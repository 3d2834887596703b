import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { FQRN } from '../../test/support/publisher-repository.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { parseFqrn } from '../core/fqrn.ts';
import { defaultSettings, RepositoryRegistry, type RepositorySettings } from './repository-settings.ts';

const SETTINGS = defaultSettings(FQRN, '/srv/cvmfs/tree.example.org');

/** Writes the settings file of a repository, whatever is in it. */
function writeSettings(folder: string, text: string): void {
  mkdirSync(join(folder, 'repositories', FQRN), { recursive: true });
  writeFileSync(join(folder, 'repositories', FQRN, 'repository.yaml'), text);
}

test('settings that were added are loaded as they were, from a folder for their owner alone', (t) => {
  const registry = new RepositoryRegistry(scratchFolder(t));
  registry.add(SETTINGS);
  assert.deepEqual(registry.load(FQRN), SETTINGS);
  assert.equal(statSync(registry.folderOf(FQRN)).mode & 0o777, 0o700);
});

test('repositories are listed in order; a folder without any, and none at all, have none', (t) => {
  const folder = scratchFolder(t);
  const registry = new RepositoryRegistry(folder);
  assert.deepEqual(registry.list(), []);
  registry.add({ ...SETTINGS, fqrn: parseFqrn('b.example.org') });
  registry.add({ ...SETTINGS, fqrn: parseFqrn('a.example.org') });
  mkdirSync(join(folder, 'repositories/not-a-name'));
  assert.deepEqual(registry.list(), ['a.example.org', 'b.example.org']);
  assert.equal(registry.has(FQRN), false);
});

test('a repository is not added twice', (t) => {
  const registry = new RepositoryRegistry(scratchFolder(t));
  registry.add(SETTINGS);
  assert.throws(() => registry.add({ ...SETTINGS, storage: '/other' }), {
    code: 'CONFLICT',
    message: new RegExp(`^Cannot create repository ${FQRN} in `),
    hint: 'a repository of this name is there already',
  });
  assert.equal(registry.load(FQRN).storage, SETTINGS.storage);
});

test('what was added can be taken back, without what was there before', (t) => {
  const registry = new RepositoryRegistry(scratchFolder(t));
  registry.add(SETTINGS)();
  assert.equal(existsSync(registry.folderOf(FQRN)), false);
  mkdirSync(registry.folderOf(FQRN));
  writeFileSync(join(registry.folderOf(FQRN), 'kept'), '');
  registry.add(SETTINGS)();
  assert.deepEqual(readdirSync(registry.folderOf(FQRN)), ['kept']);
});

test('a folder that cannot be written gives STORAGE', (t) => {
  const scratch = scratchFolder(t);
  writeFileSync(join(scratch, 'file'), '');
  assert.throws(() => new RepositoryRegistry(join(scratch, 'file')).add(SETTINGS), {
    code: 'STORAGE',
    message: /^Cannot create repository /,
  });
});

test('a repository that is not here is refused with what to do, or with those that are here', (t) => {
  const registry = new RepositoryRegistry(scratchFolder(t));
  const load = () => registry.load(parseFqrn('other.example.org'));
  const message = /^Cannot find repository other\.example\.org: there is no .*repository\.yaml$/;
  assert.throws(load, { code: 'NOT_FOUND', message, hint: /thimble repo create other\.example\.org/ });
  registry.add(SETTINGS);
  assert.throws(load, { code: 'NOT_FOUND', message, hint: `the repositories here are ${FQRN}` });
});

test('a level of compression that an older file does not give is the default', (t) => {
  const folder = scratchFolder(t);
  const { compressionLevel, ...older } = SETTINGS;
  writeSettings(folder, stringify(older));
  assert.equal(new RepositoryRegistry(folder).load(FQRN).compressionLevel, compressionLevel);
});

/** Each makes settings that are refused, and the name that the message has to have. */
const BAD: readonly { what: string; change: Record<string, unknown>; names: string }[] = [
  { what: 'an unknown hash', change: { hashAlgorithm: 'md5' }, names: 'hashAlgorithm' },
  { what: 'an unknown compression', change: { compression: 'zstd' }, names: 'compression' },
  { what: 'level 0', change: { compressionLevel: 0 }, names: 'compressionLevel' },
  { what: 'level 10', change: { compressionLevel: 10 }, names: 'compressionLevel' },
  { what: 'a TTL that is no number', change: { ttlSeconds: Number.NaN }, names: 'ttlSeconds' },
  { what: 'a negative TTL', change: { ttlSeconds: -1 }, names: 'ttlSeconds' },
  { what: 'a fraction of a TTL', change: { ttlSeconds: 1.5 }, names: 'ttlSeconds' },
  { what: 'a whitelist of no days', change: { whitelistDays: 0 }, names: 'whitelistDays' },
  { what: 'a whitelist beyond the calendar', change: { whitelistDays: 99_999_999 }, names: 'whitelistDays' },
  {
    what: 'chunks below the window',
    change: { chunkSizes: { minBytes: 31, averageBytes: 64, maxBytes: 128 } },
    names: 'chunkSizes.minBytes',
  },
  {
    what: 'chunks larger than memory allows',
    change: { chunkSizes: { minBytes: 32, averageBytes: 64, maxBytes: 2 ** 30 } },
    names: 'chunkSizes.maxBytes',
  },
  {
    what: 'chunk sizes out of order',
    change: { chunkSizes: { minBytes: 64, averageBytes: 64, maxBytes: 128 } },
    names: 'minBytes < averageBytes < maxBytes',
  },
  {
    what: 'catalogs of a handful of entries',
    change: { catalogs: { maxEntries: 9, minEntries: 1 } },
    names: 'catalogs.maxEntries',
  },
  { what: 'a setting that does not exist', change: { hashAlgoritm: 'sha1' }, names: 'hashAlgoritm' },
];
for (const { what, change, names } of BAD) {
  test(`settings with ${what} are refused by name, both when they are made and when they are read`, (t) => {
    const folder = scratchFolder(t);
    const registry = new RepositoryRegistry(folder);
    const settings = { ...SETTINGS, ...change } as RepositorySettings;
    const saysName = (code: string) => (error: Error & { code?: string }) =>
      error.code === code && error.message.includes(names);
    assert.throws(() => registry.add(settings), saysName('USAGE'));
    assert.equal(existsSync(registry.folderOf(FQRN)), false);
    writeSettings(folder, stringify(settings));
    assert.throws(() => registry.load(FQRN), saysName('FORMAT'));
  });
}

for (const { what, text } of [
  { what: 'no YAML', text: 'a: b: c: [' },
  { what: 'empty', text: '' },
  { what: 'a list', text: '- 1' },
]) {
  test(`a settings file that is ${what} is refused with its path`, (t) => {
    const folder = scratchFolder(t);
    writeSettings(folder, text);
    assert.throws(() => new RepositoryRegistry(folder).load(FQRN), {
      code: 'FORMAT',
      message: /repository\.yaml/,
    });
  });
}

test('the settings file is YAML that people can read and change', (t) => {
  const registry = new RepositoryRegistry(scratchFolder(t));
  registry.add(SETTINGS);
  assert.deepEqual(parse(stringify(registry.load(FQRN))), JSON.parse(JSON.stringify(SETTINGS)));
});
