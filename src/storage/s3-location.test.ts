import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openStorage } from './open-storage.ts';
import { httpAddressOf, parseS3Location } from './s3-location.ts';
import { readingAddress, storageLocation } from './storage-location.ts';

test('parseS3Location() reads bucket, prefix and parameters', () => {
  assert.deepEqual(
    parseS3Location(
      's3://my-bucket/cvmfs/os.example.org?endpoint=https://s3.example.org:9000/&region=eu-1&style=virtual&acl=public-read',
    ),
    {
      kind: 's3',
      bucket: 'my-bucket',
      prefix: 'cvmfs/os.example.org',
      endpoint: 'https://s3.example.org:9000',
      region: 'eu-1',
      style: 'virtual',
      acl: 'public-read',
    },
  );
});

test('without parameters it is Amazon, with the bucket before the host; other servers have it in the path', () => {
  const amazon = parseS3Location('s3://bucket');
  assert.deepEqual([amazon.prefix, amazon.endpoint, amazon.style], ['', undefined, 'virtual']);
  assert.equal(parseS3Location('s3://bucket/p/?endpoint=http://[::1]:9000').style, 'path');
  assert.equal(parseS3Location('s3://bucket/p/').prefix, 'p');
});

for (const [text, why] of [
  ['s3://', /"" is no bucket name/],
  ['s3://b/x', /"b" is no bucket name/],
  ['s3:///prefix', /"" is no bucket name/],
  ['s3://bu cket/x', /no bucket name/],
  ['s3://bucket//x', /"" cannot be part of a prefix/],
  ['s3://bucket/a/../b', /"\.\." cannot be part/],
  ['s3://bucket/a b', /"a b" cannot be part/],
  ['s3://bucket/a%20b', /cannot be part/],
  ['s3://bucket/x?endpoint=s3.example.org', /the endpoint is no http/],
  ['s3://bucket/x?endpoint=ftp://s3.example.org', /the endpoint is no http/],
  ['s3://bucket/x?endpoint=https://s3.example.org?x=y', /it is no s3:/],
  ['s3://bucket/x?region=', /region has to have one value/],
  ['s3://bucket/x?region=a&region=b', /region has to have one value/],
  ['s3://bucket/x?style=other', /style cannot be other/],
  ['s3://bucket/x?acl=everyone', /acl cannot be everyone/],
  ['s3://bucket/x?regoin=a', /there is no parameter regoin/],
] as const) {
  test(`parseS3Location() refuses ${text}`, () => {
    assert.throws(() => parseS3Location(text), { code: 'USAGE', message: why });
  });
}

test('credentials in an address are refused, and not repeated', () => {
  for (const text of [
    's3://access:hidden@bucket/x',
    's3://bucket/x?endpoint=https://access:hidden@s3.example.org',
    's3://bucket/x?secret_access_key=hidden',
    's3://bucket/x?region=a&session_token=hidden',
  ]) {
    assert.throws(
      () => parseS3Location(text),
      (error: Error & { code: string }) => error.code === 'USAGE' && !error.message.includes('hidden'),
      text,
    );
  }
});

for (const [text, address] of [
  ['s3://bucket/p', 'https://bucket.s3.amazonaws.com/p'],
  ['s3://bucket/p?region=eu-central-1', 'https://bucket.s3.eu-central-1.amazonaws.com/p'],
  ['s3://bucket/p?region=eu-central-1&style=path', 'https://s3.eu-central-1.amazonaws.com/bucket/p'],
  ['s3://bucket/p?endpoint=http://host:9000', 'http://host:9000/bucket/p'],
  ['s3://bucket?endpoint=https://host&style=virtual', 'https://bucket.host'],
] as const) {
  test(`httpAddressOf() of ${text} is ${address}`, () => {
    assert.equal(httpAddressOf(parseS3Location(text)), address);
  });
}

test('storageLocation() takes folders and addresses, and opens and reads either', () => {
  const folder = storageLocation('/srv/cvmfs/os.example.org');
  assert.deepEqual(folder, { kind: 'folder', path: '/srv/cvmfs/os.example.org' });
  assert.equal(openStorage(folder).name, '/srv/cvmfs/os.example.org');
  assert.equal(readingAddress(folder), '/srv/cvmfs/os.example.org');
  const store = storageLocation('s3://bucket/p?endpoint=http://host:9000');
  assert.equal(openStorage(store).name, 's3://bucket/p');
  assert.equal(readingAddress(store), 'http://host:9000/bucket/p');
});
