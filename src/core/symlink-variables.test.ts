import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import fc from 'fast-check';
import { fixturePath } from '../../test/support/fixtures.ts';
import { ascii } from './bytes/byte-string.ts';
import { expandSymlink } from './symlink-variables.ts';

type Environment = Readonly<Record<string, string>>;

const { symlinks } = JSON.parse(readFileSync(fixturePath('format-vectors/vectors.json'), 'utf8')) as {
  symlinks: { raw: string; env: Environment; result: string }[];
};

const expand = (raw: string, env: Environment) =>
  expandSymlink(ascii(raw), (name) => (Object.hasOwn(env, name) ? ascii(env[name]!) : undefined));

// Beyond the vectors: rows observed on the reference client, and combinations of them.
const OBSERVED: typeof symlinks = [
  { raw: '$(A:-z)', env: { A: '1' }, result: '1' },
  { raw: '$(B:-a:-b)', env: {}, result: 'a:-b' },
  { raw: '$()x', env: { A: '1' }, result: 'x' },
  { raw: '$((A))', env: { A: '1' }, result: ')' },
  { raw: 'x$(', env: {}, result: 'x$(' },
  { raw: '$A', env: { A: '1' }, result: '$A' },
  { raw: '$(A)$(B:-2)/$(A', env: { A: '1' }, result: '12/$(A' },
  { raw: '$(A)', env: { A: '$(A)' }, result: '$(A)' },
  { raw: '$(A)', env: { A: '$& $1 $$' }, result: '$& $1 $$' },
  { raw: '$(A:-)', env: { A: '' }, result: '' },
  { raw: '$(A:-d)', env: { A: '' }, result: '' },
];

for (const { raw, env, result } of [...symlinks, ...OBSERVED]) {
  test(`expandSymlink() makes ${JSON.stringify(raw)} with ${JSON.stringify(env)} ${JSON.stringify(result)}`, () => {
    assert.equal(expand(raw, env), result);
  });
}

test('expandSymlink() leaves targets without $( as they are', () => {
  const target = fc.string({ unit: fc.constantFrom(...'$()a/\xff') }).filter((text) => !text.includes('$('));
  fc.assert(fc.property(target, (text) => assert.equal(expand(text, {}), text)));
});

test('expandSymlink() takes linear time on a target full of openings', () => {
  const openings = '$('.repeat(300_000);
  assert.equal(expand(openings, {}), openings);
  assert.equal(expand(`)${openings}`, {}), `)${openings}`);
});
