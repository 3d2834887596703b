import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { utf8 } from '../core/bytes/utf8.ts';
import { parsePathFilter } from './path-filter.ts';

/** Those of the paths that the filter takes. */
function taken(specifications: readonly string[], paths: readonly string[]): string[] {
  const filter = parsePathFilter(specifications);
  return paths.filter((path) => filter.includes(utf8(path)));
}

test('a filter takes a path, what is below it, and the way there', () => {
  assert.deepEqual(
    taken(['/usr/lib'], ['', '/usr', '/usr/lib', '/usr/lib/a/b', '/usr/lib64', '/usr/share', '/lib']),
    ['', '/usr', '/usr/lib', '/usr/lib/a/b'],
  );
});

test('a filter takes names by pattern; a star stays within a name', () => {
  assert.deepEqual(
    taken(['/opt/*/lib?'], ['/opt', '/opt/x', '/opt/x/lib6', '/opt/x/lib', '/opt/x/y/lib6', '/opt/x/lib64']),
    ['/opt', '/opt/x', '/opt/x/lib6'],
  );
});

test('a filter leaves out what begins with !, wherever it is said, and what is below', () => {
  const paths = ['/usr', '/usr/share', '/usr/share/doc', '/usr/share/doc/x', '/usr/lib', '/usr/lib/x/doc'];
  assert.deepEqual(taken(['!/usr/share/doc', '/usr'], paths), [
    '/usr',
    '/usr/share',
    '/usr/lib',
    '/usr/lib/x/doc',
  ]);
  // Relaxed: here, a star crosses slashes.
  assert.deepEqual(taken(['/usr', '!/usr/*/doc'], paths), ['/usr', '/usr/share', '/usr/lib']);
  assert.deepEqual(taken(['/*', '!/usr'], [...paths, '/etc']), ['/etc']);
});

test('a filter takes its paths as UTF-8, and characters with a backslash as they are', () => {
  assert.deepEqual(taken(['/ä'], ['/ä', '/a']), ['/ä']);
  assert.deepEqual(taken(['/a\\*b'], ['/a*b', '/axb']), ['/a*b']);
  assert.equal(parsePathFilter(['/a']).includes('/\xff' as ByteString), false);
});

test('a filter is published with its version and in its order', () => {
  assert.equal(parsePathFilter(['/usr', '!/usr/share']).text, 'version 1\n/usr\n!/usr/share\n');
});

for (const specification of ['', 'usr', '!', '/a\\b', '/usr ', ' /usr', '/a\n/b', '!/a\t']) {
  test(`a filter refuses ${JSON.stringify(specification)}`, () => {
    assert.throws(() => parsePathFilter(['/usr', specification]), { code: 'USAGE', hint: /paths look like/ });
  });
}

test('a filter that only leaves out is refused', () => {
  assert.throws(() => parsePathFilter(['!/usr']), { code: 'USAGE', hint: /--include '\/\*'/ });
});
