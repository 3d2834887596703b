import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ThimbleError } from '../../core/errors.ts';
import { parseHttpUrl, parseProxyUrl } from './url.ts';

const ACCEPTED = [
  // text, host, port, tls, authority, path, text again
  ['http://a.example', 'a.example', 80, false, 'a.example', '', 'http://a.example'],
  ['http://a.example/', 'a.example', 80, false, 'a.example', '', 'http://a.example'],
  ['http://a:8000/cvmfs/x.y', 'a', 8000, false, 'a:8000', '/cvmfs/x.y', 'http://a:8000/cvmfs/x.y'],
  ['http://a/cvmfs/x.y//', 'a', 80, false, 'a', '/cvmfs/x.y', 'http://a/cvmfs/x.y'],
  ['https://a/x', 'a', 443, true, 'a', '/x', 'https://a/x'],
  ['https://a:80/x', 'a', 80, true, 'a:80', '/x', 'https://a:80/x'],
  ['http://10.0.0.1:80', '10.0.0.1', 80, false, '10.0.0.1:80', '', 'http://10.0.0.1:80'],
  ['http://[fe80::1]:8000/x', 'fe80::1', 8000, false, '[fe80::1]:8000', '/x', 'http://[fe80::1]:8000/x'],
  ['http://[::1]', '::1', 80, false, '[::1]', '', 'http://[::1]'],
] as const;

for (const [text, host, port, tls, authority, path, again] of ACCEPTED) {
  test(`parseHttpUrl() reads ${text}`, () => {
    assert.deepEqual(parseHttpUrl(text), { target: { host, port, tls }, authority, path, text: again });
  });
}

const REFUSED = [
  ['', 'nothing'],
  ['a.example', 'a bare name'],
  ['ftp://a.example', 'another scheme'],
  ['HTTP://a.example', 'a scheme in capitals'],
  ['http://', 'no host'],
  ['http://user@a.example', 'a user name'],
  ['http://a.example:', 'an empty port'],
  ['http://a.example:65536', 'a port that is too large'],
  ['http://a.example:123456', 'a port that is too long'],
  ['http://a.example/x?y', 'a query'],
  ['http://a.example/x#y', 'a fragment'],
  ['http://a.example/x y', 'a space'],
  ['http://a.example/x\r\nHost: b', 'a line break'],
  ['http://a.example/ü', 'a letter that is not ASCII'],
  ['http://fe80::1/', 'an IPv6 address without brackets'],
  [' http://a.example', 'a space ahead'],
] as const;

for (const [text, what] of REFUSED) {
  test(`parseHttpUrl() refuses ${what}`, () => {
    assert.throws(() => parseHttpUrl(text), { code: 'USAGE', hint: /http:\/\/host/ });
  });
}

test('parseHttpUrl() reads its own text as the same address, and throws nothing but USAGE', () => {
  const part = fc.string({ unit: fc.constantFrom(...'abz09.-_/:[]@?#% ') });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        part.map((rest) => `http://${rest}`),
      ),
      (text) => {
        try {
          const url = parseHttpUrl(text);
          assert.deepEqual(parseHttpUrl(url.text), url);
          assert.match(url.authority, /^[^\s/]+$/);
        } catch (error) {
          assert.ok(error instanceof ThimbleError);
          assert.equal(error.code, 'USAGE');
        }
      },
    ),
  );
});

for (const [text, name, authorization] of [
  ['http://proxy:3128', 'http://proxy:3128', undefined],
  ['proxy:3128', 'http://proxy:3128', undefined],
  ['http://proxy:3128/', 'http://proxy:3128', undefined],
  ['http://user:pass@proxy:3128', 'http://proxy:3128', 'user:pass'],
  ['http://user@proxy:3128', 'http://proxy:3128', 'user:'],
  ['user:a:b@c%2Fd%25@[fd00::1]:3128', 'http://[fd00::1]:3128', 'user:a:b@c/d%'],
] as const) {
  test(`parseProxyUrl() reads ${text}`, () => {
    const url = parseProxyUrl(text);
    assert.equal(url.text, name);
    const basic = authorization && `Basic ${Buffer.from(authorization).toString('base64')}`;
    assert.equal(url.authorization, basic);
  });
}

test('parseProxyUrl() refuses what is no address or no password, and does not repeat it', () => {
  for (const text of [
    'ftp://user:secret@proxy',
    'http://user:secret%@proxy:1',
    'http://user:secret@proxy:x',
  ]) {
    assert.throws(
      () => parseProxyUrl(text),
      (error: ThimbleError) => error.code === 'USAGE' && !error.message.includes('secret'),
    );
  }
});
