/**
 * The fault matrix of HTTP: each thing that goes wrong, by name, met in each kind of file that a reader asks for. Whatever
 * it is: right bytes or an error that says what it was, within the deadline; another server that is good is enough; soon
 * after it has ended all is well again; and the cache has nothing of it.
 */

import assert from 'node:assert/strict';
import { before, describe, type TestContext, test } from 'node:test';
import { messageOf } from '../../../src/core/errors.ts';
import { type PublishedRepository, publishRepository } from '../../support/client-repository.ts';
import { ended, FaultClient, type FaultClientOptions, LIMITS, SLACK_MS } from '../../support/fault-client.ts';
import { FaultServer } from '../../support/fault-server.ts';
import { fileScope } from '../../support/file-scope.ts';
import { type Outcome, TROUBLES, type Trouble } from '../../support/http-faults.ts';
import { memoryScratch } from '../../support/scratch.ts';
import { dir, file } from '../../support/trees.ts';

const SMALL = Buffer.from('what a program wants to read');
/** Does not fit into what is taken whole: it streams into the cache. */
const LARGE = Buffer.alloc(1_200_000, 'much of the same, ');
const INSIDE = Buffer.from('in a nested catalog');
const CODES: Readonly<Record<Outcome, readonly string[]>> = {
  NETWORK: ['NETWORK'],
  NOT_FOUND: ['NOT_FOUND'],
  damaged: ['INTEGRITY', 'FORMAT', 'LIMIT', 'TRUST'],
  endless: ['INTEGRITY', 'FORMAT', 'LIMIT', 'NETWORK'],
};

const scope = fileScope();
let scratch: string;
let published: PublishedRepository;

/** A file of the repository in which faults are met. */
interface Target {
  readonly name: string;
  /** Its path on the server. */
  path: RegExp;
  /** Has to be asked for at the very start. */
  readonly isOfTheStart: boolean;
  readonly read: (client: FaultClient) => Promise<Buffer>;
  readonly expected: Buffer;
}

const target = (name: string, path: RegExp, file: string | undefined, expected: Buffer): Target => ({
  name,
  path,
  isOfTheStart: file === undefined,
  read: (client) => client.read(file ?? 'small'),
  expected,
});

const NONE = /(?!)/;
const PATIENT_MS = 10_000;
const TARGETS: readonly Target[] = [
  target('manifest', /^\.cvmfspublished$/, undefined, SMALL),
  target('whitelist', /^\.cvmfswhitelist$/, undefined, SMALL),
  target('certificate', /^data\/.*X$/, undefined, SMALL),
  target('root catalog', NONE, undefined, SMALL),
  target('small object', NONE, 'small', SMALL),
  target('large object', NONE, 'large', LARGE),
  target('nested catalog', NONE, 'sub/inside', INSIDE),
];

before(async () => {
  scratch = memoryScratch(scope);
  published = await publishRepository(scope);
  await published.publish(
    dir({
      small: file(SMALL),
      large: file(LARGE),
      sub: dir({ '.cvmfscatalog': file(''), inside: file(INSIDE) }),
    }),
  );
  await learnPaths();
});

/** Which objects are behind the names, from what a reader asks for. */
async function learnPaths(): Promise<void> {
  const server = await FaultServer.start(scope, published);
  const client = clientOf(scope, [server.url]);
  const learn = async (
    name: string,
    path: (asked: readonly string[]) => string,
    read: () => Promise<unknown>,
  ) => {
    const known = server.paths.length;
    await read();
    const found = TARGETS.find((one) => one.name === name)!;
    found.path = new RegExp(`^${path(server.paths.slice(known))}$`);
  };
  const catalogAmong = (asked: readonly string[]) => asked.find((path) => path.endsWith('C'))!;
  await learn('root catalog', catalogAmong, () => client.open());
  await learn(
    'small object',
    (asked) => asked[0]!,
    () => client.read('small'),
  );
  await learn(
    'large object',
    (asked) => asked[0]!,
    () => client.read('large'),
  );
  await learn('nested catalog', catalogAmong, () => client.read('sub/inside'));
}

function clientOf(
  t: Pick<TestContext, 'after'>,
  urls: readonly string[],
  options: FaultClientOptions = {},
): FaultClient {
  return new FaultClient(t, scratch, published, urls, options);
}

/** A client that has read what comes before the target, and a server that is bad from now on. */
async function meet(
  t: TestContext,
  { begin }: Trouble,
  { path, isOfTheStart }: Target,
  others: readonly string[] = [],
  options: FaultClientOptions = {},
) {
  const server = await FaultServer.start(t, published);
  const client = clientOf(t, [server.url, ...others], options);
  if (!isOfTheStart) await client.open();
  await begin(server, path);
  return { server, client };
}

async function alone(t: TestContext, trouble: Trouble, target: Target): Promise<void> {
  const { server, client } = await meet(t, trouble, target);
  const failed = await ended(() => target.read(client));
  const what = `${target.name}: ${failed.error === undefined ? 'it was read' : messageOf(failed.error)}`;
  assert.ok(CODES[trouble.outcome].includes(failed.code ?? 'none'), what);
  assert.ok(failed.ms < LIMITS.deadlineMs + SLACK_MS, `${what} after ${failed.ms} ms`);
  await server.heal();
  await new Promise((resolve) => setTimeout(resolve, trouble.leaveAloneMs ?? 0));
  const healedMs = performance.now();
  const isLate = () => performance.now() - healedMs > LIMITS.backoffMaxMs + SLACK_MS;
  let again = await ended(() => target.read(client));
  // On a machine that is busy with other things, one deadline may be too short.
  while (again.code === 'NETWORK' && !isLate()) again = await ended(() => target.read(client));
  assert.ok(
    again.value?.equals(target.expected),
    `${target.name}, after it was healed: ${messageOf(again.error)}`,
  );
  assert.ok(!isLate(), `${target.name}: well again late`);
  client.assertCacheIsSound();
}

async function besideAGoodOne(t: TestContext, trouble: Trouble, target: Target): Promise<void> {
  const good = await FaultServer.start(t, published);
  // Long enough for a busy machine; a try that hangs is given up much earlier.
  const limits = { deadlineMs: PATIENT_MS };
  const { client } = await meet(t, trouble, target, [good.url], { limits });
  const { value, error, ms } = await ended(() => target.read(client));
  assert.ok(value?.equals(target.expected), `${target.name}, with a good server: ${messageOf(error)}`);
  assert.ok(ms < PATIENT_MS, `${target.name}: passed over after ${ms} ms`);
  client.assertCacheIsSound();
}

/** Somebody who waits has it as soon as it can be had. */
async function whileItIsWaitedFor(t: TestContext, trouble: Trouble, target: Target): Promise<void> {
  const limits = { deadlineMs: 6 * PATIENT_MS };
  const { server, client } = await meet(t, trouble, target, [], { limits });
  const reading = ended(() => target.read(client));
  await new Promise((resolve) => setTimeout(resolve, 2 * LIMITS.timeoutMs));
  await server.heal();
  const healed = performance.now();
  const { value, error } = await reading;
  const ms = performance.now() - healed;
  assert.ok(value?.equals(target.expected), `${target.name}, waited for: ${messageOf(error)}`);
  const promised = LIMITS.timeoutMs + LIMITS.backoffMaxMs + (trouble.leaveAloneMs ?? 0);
  assert.ok(ms < promised + SLACK_MS, `${target.name}, waited for: ${ms} ms after it was healed`);
}

describe('fault', { concurrency: 3 }, () => {
  for (const trouble of TROUBLES) {
    test(trouble.name, async (t) => {
      const scenes = TARGETS.flatMap((target) => {
        const waits = trouble.outcome === 'NETWORK' && /small|nested/.test(target.name);
        const all = [alone, besideAGoodOne, ...(waits ? [whileItIsWaitedFor] : [])];
        return all.map((scene) => scene(t, trouble, target));
      });
      // All of them have to be over before the test is: they use its servers.
      const failed = (await Promise.allSettled(scenes)).find(({ status }) => status === 'rejected');
      if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
    });
  }
});
