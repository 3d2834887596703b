import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../support/scratch.ts';
import { thimble } from '../support/thimble.ts';

/** Each is refused before anything is done; `names` is what the first line has to say. */
const REFUSED: readonly { args: readonly string[]; names: string; hint: string }[] = [
  { args: ['frobnicate'], names: "'frobnicate'", hint: 'see: thimble --help' },
  { args: ['repo', 'frobnicate'], names: "'frobnicate'", hint: 'see: thimble repo --help' },
  { args: ['--frobnicate'], names: "'--frobnicate'", hint: 'see: thimble --help' },
  {
    args: ['publish', 'a.b', '.', '--frobnicate'],
    names: "'--frobnicate'",
    hint: 'see: thimble publish --help',
  },
  { args: ['serve', '--frobnicate=1'], names: "'--frobnicate=1'", hint: 'see: thimble serve --help' },
  {
    args: ['repo', 'create', 'a.b', '--storage', 'x', '--frob'],
    names: "'--frob'",
    hint: 'see: thimble repo --help',
  },
  { args: ['mount', '--nope', 'a', 'b'], names: "'--nope'", hint: 'see: thimble mount --help' },
  { args: ['dump', 'a.b', '-x'], names: "'-x'", hint: 'see: thimble dump --help' },
  { args: ['repo', 'lst'], names: "'lst'", hint: 'Did you mean list?' },
  { args: ['publish', 'a.b', '.', '--tagg', 'v1'], names: "'--tagg'", hint: 'Did you mean --tag?' },
  { args: ['publish'], names: "'fqrn'", hint: 'see: thimble publish --help' },
  { args: ['publish', 'a.b', 'x', 'y'], names: 'too many arguments', hint: 'see: thimble publish --help' },
  { args: ['publish', 'a.b', '.', '--tag'], names: '--tag <name>', hint: 'see: thimble publish --help' },
  { args: ['repo', 'create', 'a.b'], names: '--storage <place>', hint: 'see: thimble repo --help' },
  { args: ['publish', 'no-dot', '.'], names: '"no-dot"', hint: 'letters, digits' },
  { args: ['publish', 'a.b', '.', '--message', 'x'], names: 'message without a tag', hint: '--tag NAME' },
  { args: ['repo', 'create', 'a..b', '--storage', 'x'], names: '"a..b"', hint: 'letters, digits' },
  {
    args: ['dump', 'http://a/b.c', '--variable', 'NAME'],
    names: '"NAME" as a variable',
    hint: 'NAME=VALUE',
  },
  {
    args: ['dump', 'http://a/b.c', '--external-server', '/srv/data'],
    names: '"/srv/data"',
    hint: 'http://',
  },
  { args: ['tag', 'list', 'no-dot'], names: '"no-dot"', hint: 'ends with the name' },
  { args: ['serve'], names: 'no repositories here', hint: 'thimble repo create' },
];

/** An option that swallows what follows it would swallow these: they come first. */
const run = (t: TestContext, args: readonly string[], ...more: readonly string[]) =>
  thimble(['--config', scratchFolder(t), ...more, ...args]);

for (const { args, names, hint } of REFUSED) {
  test(`"thimble ${args.join(' ')}" is refused by name with exit code 2`, async (t) => {
    const { status, stdout, stderr } = await run(t, args);
    assert.equal(stdout, '');
    assert.equal(status, 2, stderr);
    const [error, hintLine, ...rest] = stderr.split('\n');
    assert.ok(error!.startsWith('error: ') && error!.includes(names), stderr);
    assert.ok(hintLine!.startsWith('hint: ') && hintLine!.includes(hint), stderr);
    assert.deepEqual(rest, ['']);
  });
}

// Of each kind one: what commander finds out, with and without a suggestion, and what commands do.
for (const { args, names, hint } of REFUSED.filter(({ args }) =>
  ['lst', '--tagg', 'no-dot'].some((word) => args.includes(word)),
)) {
  test(`"thimble ${args.join(' ')} --json" is refused with one JSON object`, async (t) => {
    const { status, stdout, stderr } = await run(t, args, '--json');
    assert.deepEqual([status, stdout], [2, '']);
    const { error } = JSON.parse(stderr) as { error: { code: string; message: string; hint: string } };
    assert.equal(error.code, 'USAGE');
    assert.ok(error.message.includes(names) && !error.message.startsWith('error'));
    assert.ok(error.hint.includes(hint));
  });
}
