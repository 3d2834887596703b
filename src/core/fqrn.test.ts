import assert from 'node:assert/strict';
import test from 'node:test';
import { isFqrn, parseFqrn } from './fqrn.ts';

for (const name of ['sft.cern.ch', 'os.example.org', 'a.b', 'A_1-x.y-', `${'a'.repeat(58)}.b`]) {
  test(`parseFqrn() accepts ${name}`, () => {
    assert.ok(isFqrn(name));
    assert.equal(parseFqrn(name), name);
  });
}

for (const [why, name] of [
  ['nothing', ''],
  ['a single part', 'localhost'],
  ['an empty part', 'a..b'],
  ['a dot at its end', 'a.b.'],
  ['a dot at its start', '.a.b'],
  ['a dash at its start', '-a.b'],
  ['a slash', 'a.b/c'],
  ['a step upwards', '../a.b'],
  ['a line feed behind it', 'a.b\n'],
  ['letters beyond ASCII', 'caf\u00e9.example.org'],
  ['more than 60 characters', `${'a'.repeat(59)}.b`],
] as const) {
  test(`parseFqrn() refuses a name with ${why}`, () => {
    assert.ok(!isFqrn(name));
    assert.throws(() => parseFqrn(name), { name: 'ThimbleError', code: 'USAGE', hint: /dots/ });
  });
}

test('isFqrn() takes linear time on names made to be backtracked', () => {
  assert.ok(!isFqrn(`${'a.'.repeat(100_000)}!`));
});
