import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Verification } from './verification.ts';

function recorded() {
  const sound: string[] = [];
  return { sound, verification: (name: string) => new Verification(() => void sound.push(name)) };
}

test('Verification is sound when it and all it depends on is finished, in any order', () => {
  const { sound, verification } = recorded();
  const [top, first, second] = [verification('top'), verification('first'), verification('second')];
  top.dependOn(first);
  top.dependOn(second);
  second.finish();
  top.finish();
  assert.deepEqual(sound, ['second']);
  assert.equal(top.isDone, false);
  first.finish();
  assert.deepEqual(sound, ['second', 'first', 'top']);
  assert.equal(top.isDone, true);
});

test('Verification is not sound if anything below it is not, however deep', () => {
  const { sound, verification } = recorded();
  const [top, middle, bottom, other] = ['top', 'middle', 'bottom', 'other'].map(verification) as [
    Verification,
    Verification,
    Verification,
    Verification,
  ];
  top.dependOn(middle);
  middle.dependOn(bottom);
  other.dependOn(middle);
  for (const each of [top, middle, other]) each.finish();
  bottom.spoil();
  bottom.finish();
  assert.deepEqual(sound, []);
  assert.ok([top, middle, other, bottom].every(({ isDone }) => isDone));
});

test('Verification knows the outcome of what is done already', () => {
  const { sound, verification } = recorded();
  const [good, bad] = [verification('good'), verification('bad')];
  good.finish();
  bad.spoil();
  bad.finish();
  const [upon, uponBad] = [verification('upon good'), verification('upon bad')];
  upon.dependOn(good);
  uponBad.dependOn(bad);
  upon.finish();
  uponBad.finish();
  assert.deepEqual(sound, ['good', 'upon good']);
});

test('Verification that is never finished is never sound', () => {
  const { sound, verification } = recorded();
  const top = verification('top');
  const below = verification('below');
  top.dependOn(below);
  top.finish();
  assert.deepEqual(sound, []);
});
