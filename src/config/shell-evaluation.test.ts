import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { ThimbleError } from '../core/errors.ts';
import { type FileSystemView, ShellEvaluation } from './shell-evaluation.ts';

type Files = Readonly<Record<string, string>>;

const view = (files: Files): FileSystemView => ({
  read: (path) => (files[path] === undefined ? undefined : { text: files[path], isPublic: true }),
  isFile: (path) => files[path] !== undefined,
  isFolder: (path) => path === '/folder',
});

function evaluate(text: string, files: Files = {}): ShellEvaluation {
  const evaluation = new ShellEvaluation({
    files: view({ '/c/main.conf': text, ...files }),
    machineNumber: 7,
  });
  evaluation.include('/c/main.conf');
  return evaluation;
}

/** Name and value of all variables; `?` for what is unknown. */
function valuesOf(text: string, files: Files = {}): Record<string, string> {
  const { variables } = evaluate(text, files);
  return Object.fromEntries([...variables].map(([name, { value }]) => [name, value ?? '?']));
}

const ROWS: readonly (readonly [what: string, text: string, values: Readonly<Record<string, string>>])[] = [
  ['a plain value', 'A=http://host/@fqrn@', { A: 'http://host/@fqrn@' }],
  ['an empty one', 'A=\nB=""', { A: '', B: '' }],
  ['single quotes, where nothing counts', "A='$B \\ \"'", { A: '$B \\ "' }],
  ['double quotes', 'B=b\nA="x $B ${B} \\$B \\" \\n"', { B: 'b', A: 'x b b $B " \\n' }],
  ['pieces that touch', 'A=a"b c"\'d e\'\\ f', { A: 'ab cd e f' }],
  ['semicolons in quotes', 'A="DIRECT;auto|x"; B=2', { A: 'DIRECT;auto|x', B: '2' }],
  ['comments', '# A=1\nA=1 # B=2\nB=a#b', { A: '1', B: 'a#b' }],
  ['a line that goes on', 'A=a\\\nb\nB="c\\\nd"', { A: 'ab', B: 'cd' }],
  ['a value of several lines', 'A="a\nb"', { A: 'a\nb' }],
  ['export and readonly', 'export A=1\nreadonly B="$A 2" C=3\nexport A', { A: '1', B: '1 2', C: '3' }],
  ['a default', 'A=${X:-d}\nB=${X-e}\nE=\nC=${E:-f}\nD=${E-g}', { A: 'd', B: 'e', E: '', C: 'f', D: '' }],
  [
    'a default that stays',
    'A="${B:=http://h:1}"\nC=$B',
    { A: 'http://h:1', B: 'http://h:1', C: 'http://h:1' },
  ],
  ['another value if there is one', 'A=1\nB=${A:+yes}\nC=${X+no}', { A: '1', B: 'yes', C: '' }],
  ['defaults in defaults', 'A=${X:-${Y:-"a b"}}', { A: 'a b' }],
  ['a list that grows', 'A=1\nA="$A;2"\nA="$A;3"', { A: '1;2;3' }],
  ['no value at all', 'A=$X/b', { A: '/b' }],
  ['later lines win', 'A=1\nA=2', { A: '2' }],
  ['unset', 'A=1\nB=1\nunset A', { B: '1' }],
  ['blanks before and behind', '  \tA=1  \n\n\n B=2', { A: '1', B: '2' }],
  ['a lonely dollar', 'A=a$\nB="$"', { A: 'a$', B: '$' }],
  ['if', 'if [ 1 = 1 ]; then A=1; fi', { A: '1' }],
  ['if on many lines', 'if [ "x$X" = "x" ]\nthen\n  A=1\nelse\n  A=2\nfi', { A: '1' }],
  [
    'elif and else',
    'C=2\nif [ $C = 1 ]; then A=1; elif [ $C = 2 ]; then A=2; else A=3; fi',
    { C: '2', A: '2' },
  ],
  ['conditions in conditions', 'if [ a = a ]; then if [ a = b ]; then A=1; else A=2; fi; fi', { A: '2' }],
  [
    'and, or, not',
    '[ a = b ] || A=1\n[ a = a ] && B=1\nif ! [ a = b ] && [ c != d ]; then C=1; fi',
    { A: '1', B: '1', C: '1' },
  ],
  ['-z and -n', 'if [ -z "$X" ]; then A=1; fi\nif [ -n "$X" ]; then B=1; fi', { A: '1' }],
  ['a test of nothing, which is true', 'if [ -z $X ]; then A=1; fi', { A: '1' }],
  ['numbers', 'N=3\nif [ $N -lt 5 ]; then A=1; fi\nif [ "$N" -ge 4 ]; then B=1; fi', { N: '3', A: '1' }],
  ['a comparison without a number', 'if [ "" -eq 0 ]; then A=1; else A=2; fi', { A: '2' }],
  ['files', 'if [ -f /c/main.conf ] && [ -d /folder ] && [ ! -e /none ]; then A=1; fi', { A: '1' }],
  [
    '-a and -o in one test',
    'if [ a = b -o a = a ]; then A=1; fi\nif [ a = a -a a = b ]; then B=1; fi',
    { A: '1' },
  ],
  ['test without brackets', 'if test a = a; then A=1; fi', { A: '1' }],
  ['true, false and :', 'true && A=1\nfalse || B=1\nif :; then :; fi', { A: '1', B: '1' }],
  ['numbers by machine', 'A=$((RANDOM % 2))\nif [ "$(($$ % 4))" == 3 ]; then B=1; fi', { A: '1', B: '1' }],
  ['arithmetic', 'N=5\nA=$((2 * (N + 1) - 10 / 3))\nB=$(($N % 2))', { N: '5', A: '9', B: '1' }],
  ['the end of a file', 'A=1\nif [ a = a ]; then return; fi\nA=2', { A: '1' }],
  ['a command that only a shell can run', 'A=$(hostname -f)\nB=`id`\nC="x$A"', { A: '?', B: '?', C: '?' }],
  ['an unknown value that is replaced', 'A=$(x)\nA=1', { A: '1' }],
  ['what a shell would know', 'A=$HOME\nB=~/x\nC=${HOSTNAME:-x}', { A: '?', B: '?', C: '?' }],
  [
    'an unknown condition',
    'D=1\nif [ "$(uname)" = x ]; then A=1; else B=1; fi\nC=1',
    { D: '1', A: '?', B: '?', C: '1' },
  ],
  ['a program as a condition', 'if grep -q "a.*b" /c/main.conf; then A=1; fi', { A: '?' }],
  ['a program that is not run', 'ulimit -n 4096\nA=1', { A: '1' }],
  ['bytes that are not UTF-8', 'A=\u{fffd}', { A: '?' }],
];

describe('what files of CernVM-FS say', () => {
  for (const [what, text, values] of ROWS) {
    test(`${what}: ${JSON.stringify(text)}`, () => assert.deepEqual(valuesOf(text), values));
  }

  test('a shell says the same', () => {
    for (const [what, text, values] of ROWS) {
      if (Object.values(values).includes('?') || /RANDOM|main\.conf|\breturn\b/.test(text)) continue;
      const names = Object.keys(values);
      const script = `${text}\nprintf '%s\\0' ${names.map((name) => `"$${name}"`).join(' ')}`;
      const said = execFileSync('/bin/sh', ['-c', script], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      assert.deepEqual(said.split('\0').slice(0, -1), Object.values(values), what);
    }
  });

  test('a stock file asks for the release with grep', () => {
    const stock =
      'if [ -f /etc/debian_version ] && grep -q "wheezy\\|jessie" /etc/debian_version;\nthen\n    :\nelse\n    A=config\nfi';
    assert.deepEqual(valuesOf(stock, { '/etc/debian_version': '12.5\n' }), { A: 'config' });
    assert.deepEqual(valuesOf(stock, { '/etc/debian_version': 'jessie/sid\n' }), {});
  });

  test('other files are included from the folder of the first', () => {
    const files = {
      '/c/../common.conf': 'if [ -z "$A" ]; then A=common; fi\n. ./more.conf\nB=1',
      '/c/./more.conf': 'C=1\nreturn\nC=2',
    };
    assert.deepEqual(valuesOf('A="$A"\n. ../common.conf\nD=$B', files), {
      A: 'common',
      C: '1',
      B: '1',
      D: '1',
    });
  });

  test('each value comes from a file and a line', () => {
    const { variables } = evaluate('A=1\n\n# x\nB="a\nb"\nif [ a = a ]; then\n  C=1\nfi\n. /other', {
      '/other': '\nD=1',
    });
    const places = Object.fromEntries([...variables].map(([name, { where }]) => [name, where]));
    assert.deepEqual(places, {
      A: '/c/main.conf:1',
      B: '/c/main.conf:4',
      C: '/c/main.conf:7',
      D: '/other:2',
    });
  });

  test('a program that is not run is told of, with its line', () => {
    assert.deepEqual(evaluate('A=1\nulimit -n 5').findings, [
      { severity: 'warning', where: '/c/main.conf:2', message: 'the command "ulimit" is not run' },
    ]);
  });

  test('why a value is unknown names what it needs', () => {
    const { variables } = evaluate('A=$(x)\nB=$A');
    assert.match(
      variables.get('B')?.why ?? '',
      /it needs A, and it is the output of a command.*main\.conf:1/,
    );
  });
});

const REFUSED: readonly (readonly [text: string, message: RegExp])[] = [
  ['A=1\nB="x\n\n', /main\.conf line 2: a " without its other one/],
  ["A='x", /line 1: a ' without its other one/],
  ['A=1\nif [ a = a ]; then\nB=1\n', /line 2: "if" without its "fi"/],
  ['if [ a = a ]\nA=1\nfi', /line 1: "if" without its "then"/],
  ['if; then A=1; fi', /line 1/],
  ['fi', /"fi" without its "if"/],
  ['A=1\nfor x in a; do A=2; done', /line 2: "for" is not understood/],
  ['case $A in x) B=1;; esac', /"case" is not understood/],
  ['f() { A=1; }', /a function or a subshell/],
  ['a | b', /a pipe/],
  ['a &', /in the background/],
  ['a > b', /a redirection/],
  ['A=1\r\n', /line 1: a carriage return/],
  ['eval A=1', /"eval" is not understood/],
  ['A=(1 2)', /a list in parentheses/],
  ['A=${B:-x', /"\$\{" without its "\}"/],
  ['A=${#B}', /what is in \$\{\.\.\.\} is not understood/],
  ['A=$(x', /"\$\(" without its "\)"/],
  ['A=`x', /the output of a command, without its end/],
  ['A=$((1', /"\$\(\(" without its "\)\)"/],
  ['[ a = a', /"\[" without its "\]"/],
  ['. /none', /there is no \/none to include/],
  ['. $A', /which file to include is not understood/],
  ['if [ "$(x)" = y ]; then . /other; fi', /whether "\." is done here/],
  ['if [ "$(x)" = y ]; then return; fi', /whether "return" is done here/],
  ['$X a', /a command whose name only a shell can tell/],
  [`A=${'${A:-'.repeat(60)}x`, /nested too deeply/],
];

describe('what is refused, with file and line', () => {
  for (const [text, message] of REFUSED) {
    test(JSON.stringify(text.slice(0, 50)), () => {
      assert.throws(
        () => evaluate(text),
        (error: unknown) => {
          assert.ok(error instanceof ThimbleError);
          assert.equal(error.code, 'FORMAT');
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  test('files that include each other end', () => {
    assert.throws(() => evaluate('. /c/main.conf'), { code: 'LIMIT' });
  });

  test('a value cannot grow without end', () => {
    assert.throws(() => evaluate(`A=0123456789\n${'A=$A$A\n'.repeat(40)}`), {
      code: 'FORMAT',
      message: /grows beyond/,
    });
  });

  test('a file has a largest size', () => {
    assert.throws(() => evaluate('#'.repeat(2 ** 20 + 1)), { code: 'LIMIT' });
  });
});
