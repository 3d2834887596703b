import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ByteString } from './bytes/byte-string.ts';
import { parsePathSpec, parsePathSpecs } from './path-spec.ts';

const spec = (text: string) => parsePathSpec(text as ByteString, false, 'test');
const path = (text: string) => text as ByteString;

for (const [text, matching, others] of [
  ['/a/b', ['/a/b'], ['/a', '/a/b/c', '/x/a/b', '/a/bb']],
  ['/a/*', ['/a/b', '/a/.x'], ['/a', '/a/b/c']],
  ['/*/b', ['/a/b', '/xyz/b'], ['/b', '/a/x/b']],
  ['/a?c', ['/abc', '/a.c'], ['/ac', '/a/c', '/abbc']],
  ['/a.c', ['/a.c'], ['/abc']],
  ['/a\\*', ['/a*'], ['/ab', '/a']],
  ['/a\\?\\\\', ['/a?\\'], ['/ab\\']],
  ['/a+(b)[c]{d}^$|', ['/a+(b)[c]{d}^$|'], ['/aab']],
  ['/a/', ['/a'], ['/a/b']],
  ['/\xff*', ['/\xff', '/\xff\xfe\n'], ['/a']],
] as const) {
  test(`${JSON.stringify(text)} matches whole paths, and * stays within a name`, () => {
    for (const one of matching) assert.ok(spec(text).matches(path(one)), one);
    for (const one of others) assert.ok(!spec(text).matches(path(one)), one);
  });
}

test('relaxed matching lets * cross slashes, and a relative specification begin at any of them', () => {
  assert.ok(spec('/a/*').matchesRelaxed(path('/a/b/c')));
  assert.ok(!spec('/a/*').matchesRelaxed(path('/b/a/c')));
  assert.ok(spec('tests').matchesRelaxed(path('/a/b/tests')));
  assert.ok(!spec('tests').matchesRelaxed(path('/a/mytests')));
  assert.ok(spec('*.svn').matchesRelaxed(path('/a/.svn')));
});

test('prefix matching takes what is below, too', () => {
  assert.ok(spec('/a/b').matchesPrefix(path('/a/b/c/d')));
  assert.ok(spec('/a/b').matchesPrefix(path('/a/b')));
  assert.ok(!spec('/a/b').matchesPrefix(path('/a/bc')));
  assert.ok(spec('/').matchesPrefix(path('/anything')));
});

test('patterns with many stars take no longer than others', () => {
  const one = spec(`/${'*a'.repeat(60)}b`);
  const long = path(`/${'a'.repeat(20_000)}`);
  assert.ok(!one.matches(long));
  assert.ok(!one.matchesRelaxed(long));
  assert.ok(one.matches(path(`${long}b`)));
});

test('mayMatchBelow() holds for the directories on the way, and no others', () => {
  const one = spec('/a/*/c');
  for (const directory of ['', '/a', '/a/x']) assert.ok(one.mayMatchBelow(path(directory)), directory);
  for (const directory of ['/b', '/a/x/c', '/a/x/y', '/b/x'])
    assert.ok(!one.mayMatchBelow(path(directory)), directory);
});

test('whatever matches below a directory, mayMatchBelow() holds for it', () => {
  const name = fc.constantFrom('a', 'b', '*', '?', 'a*');
  fc.assert(
    fc.property(
      fc.array(name, { minLength: 1, maxLength: 4 }),
      fc.array(fc.constantFrom('a', 'b', 'ab'), { minLength: 1, maxLength: 4 }),
      (pattern, names) => {
        const one = spec(`/${pattern.join('/')}`);
        if (!one.matches(path(`/${names.join('/')}`))) return;
        for (let i = 0; i < names.length; i++) {
          const above = names
            .slice(0, i)
            .map((part) => `/${part}`)
            .join('');
          assert.ok(one.mayMatchBelow(path(above)), above);
        }
      },
    ),
  );
});

for (const [text, message] of [
  ['', /there is no path/],
  ['/a\\b', /backslash/],
  ['/a\\', /backslash/],
] as const) {
  test(`${JSON.stringify(text)} is refused`, () => {
    assert.throws(() => spec(text), { code: 'FORMAT', message });
  });
}

test('a file of specifications has comments, exclusions and blanks at its ends', () => {
  const specs = parsePathSpecs(path('# all\n\n/a/* \t\n! /a/x\r\n!rel\n'), 'file');
  assert.deepEqual(
    specs.map(({ text, isNegative, isAbsolute }) => [text, isNegative, isAbsolute]),
    [
      ['/a/*', false, true],
      ['/a/x', true, true],
      ['rel', true, false],
    ],
  );
  assert.throws(() => parsePathSpecs(path('/a\n!\n'), 'file'), {
    message: 'Cannot use file, line 2: there is no path',
  });
});
