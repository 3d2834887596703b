import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProxyRing } from './proxy-ring.ts';

const members = ['http://a:3128', 'http://b:3128', 'http://c:3128', 'http://d:3128'].map((name) => ({
  name,
}));
const keys = Array.from({ length: 4_000 }, (_, i) => `data/${(i % 256).toString(16)}/${i.toString(16)}`);

test('ProxyRing gives every member a share', () => {
  const ring = new ProxyRing(members);
  for (const member of members) {
    const share = keys.filter((key) => ring.memberFor(key) === member).length / keys.length;
    assert.ok(share > 0.08 && share < 0.55, `${member.name} has ${share}`);
  }
});

test('ProxyRing moves only the keys of a member that goes', () => {
  const [before, after] = [new ProxyRing(members), new ProxyRing(members.slice(1))];
  for (const key of keys) {
    const was = before.memberFor(key);
    if (was !== members[0]) assert.equal(after.memberFor(key), was);
  }
});

test('ProxyRing does not depend on the order of its members', () => {
  const [one, other] = [new ProxyRing(members), new ProxyRing([...members].reverse())];
  for (const key of keys) assert.equal(one.memberFor(key), other.memberFor(key));
});

test('ProxyRing without members has nobody', () => {
  assert.equal(new ProxyRing([]).memberFor('x'), undefined);
});
