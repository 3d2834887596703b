import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import { buildProgram } from '../../src/cli/program.ts';
import { thimble } from '../support/thimble.ts';

const program = await buildProgram(undefined);

function all(
  command: Command,
  path: readonly string[] = [],
): { path: readonly string[]; command: Command }[] {
  return [{ path, command }, ...command.commands.flatMap((child) => all(child, [...path, child.name()]))];
}

/** The help of a command as it would be printed. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text;
}

for (const { path, command } of all(program)) {
  const name = ['thimble', ...path].join(' ');
  test(`the help of "${name}" says how to call it, with an example that calls it`, () => {
    const help = helpOf(command);
    assert.match(help, new RegExp(`^Usage: ${name}`));
    const [, examples] = /\nExamples?:\n([\s\S]+)$/.exec(help) ?? [];
    assert.ok(examples, 'there is an example');
    const isGroup = command.commands.length > 0;
    assert.match(examples, new RegExp(isGroup ? `thimble ${path.join(' ')}` : `${name}\\b`));
  });

  test(`each command and option of "${name}" is explained`, () => {
    for (const child of command.commands) assert.notEqual(child.summary(), '', child.name());
    for (const option of command.options) assert.notEqual(option.description, '', option.flags);
  });

  test(`the examples of "${name}" use only options that exist`, () => {
    const known = new Set(
      [...program.options, ...all(program).flatMap((one) => one.command.options)].map(
        (option) => option.long,
      ),
    );
    const [, examples = ''] = /\nExamples?:\n([\s\S]+)$/.exec(helpOf(command)) ?? [];
    for (const [option] of examples.matchAll(/(?<= )--[a-z-]+/g)) assert.ok(known.has(option), option);
  });
}

/** A few run for real: what is loaded only for its command has to work there too. */
for (const args of [
  ['--help'],
  ['publish', '--help'],
  ['repo', 'create', '--help'],
  ['repo', '--help'],
  ['tag', 'list', '-h'],
  ['diff', '--help'],
]) {
  test(`"thimble ${args.join(' ')}" prints help to stdout and succeeds`, async () => {
    const { status, stdout, stderr } = await thimble(args);
    assert.equal(status, 0);
    assert.match(stdout, /^Usage: thimble[\s\S]*\nExamples?:\n/);
    assert.equal(stderr, '');
  });
}

test('"thimble --version" prints the version', async () => {
  const { status, stdout } = await thimble(['--version']);
  assert.equal(status, 0);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

for (const args of [[], ['repo'], ['tag']]) {
  test(`"${['thimble', ...args].join(' ')}" without a command says what there is, and fails with 2`, async () => {
    const { status, stdout, stderr } = await thimble(args);
    assert.equal(status, 2);
    assert.match(stderr, /^Usage: thimble[\s\S]*\nCommands:\n/);
    assert.equal(stdout, '');
  });
}
