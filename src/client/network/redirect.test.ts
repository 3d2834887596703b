import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveRedirect } from './redirect.ts';

const FROM = {
  target: { host: 'a.example', port: 8000, tls: false },
  authority: 'a.example:8000',
  path: '/cvmfs/x.y/data/ab/cd',
  text: 'http://a.example:8000/cvmfs/x.y/data/ab/cd',
};

for (const [location, text] of [
  ['https://b.example/z', 'https://b.example/z'],
  ['https://b.example', 'https://b.example/'],
  ['http://b.example:81/z?sign=a/b&c=%20#part', 'http://b.example:81/z?sign=a/b&c=%20'],
  ['/z?q', 'http://a.example:8000/z?q'],
  ['http://b.example?q', 'http://b.example/?q'],
] as const) {
  test(`resolveRedirect() follows ${location}`, () => {
    const resource = resolveRedirect(location, FROM);
    assert.equal(resource?.text, text);
    assert.equal(resource?.target.tls, text.startsWith('https'));
  });
}

for (const location of [undefined, '', 'z', 'ftp://b/z', 'http://b/z z', '/z\r\nHost: c']) {
  test(`resolveRedirect() does not follow ${JSON.stringify(location)}`, () => {
    assert.equal(resolveRedirect(location, FROM), undefined);
  });
}

test('resolveRedirect() refuses a host that is none', () => {
  assert.throws(() => resolveRedirect('http://b:99999/z', FROM), { code: 'USAGE' });
});
