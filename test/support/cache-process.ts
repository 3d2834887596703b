/** A process of its own that has a cache folder open: to be killed, or to be shared with. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';

const PROGRAM = `
import { createInterface } from 'node:readline';
import { FolderCache } from ${JSON.stringify(new URL('../../src/node/cache/folder-cache.ts', import.meta.url).href)};
const [folder, limit] = process.argv.slice(1);
const answer = (value) => process.stdout.write(JSON.stringify(value ?? null) + '\\n');
const outcome = (action) => {
  try {
    return action();
  } catch (error) {
    return { code: error.code };
  }
};
let cache;
const commands = {
  open: () => {
    cache = FolderCache.open(folder, { limitBytes: Number(limit) });
    return 'open';
  },
  put: (id, content) => {
    const writer = cache.create(id, content.length);
    writer.write(Buffer.from(content, 'latin1'));
    writer.commit();
    return 'put';
  },
  begin: (id, content) => {
    cache.create(id, 200_000).write(Buffer.from(content, 'latin1'));
    return 'begun';
  },
  load: (id) => {
    const bytes = cache.load(id);
    return bytes === undefined ? null : Buffer.from(bytes).toString('latin1');
  },
  close: () => {
    cache.close();
    return 'closed';
  },
};
answer('started');
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  answer(outcome(() => commands[name](...args)));
}
`;

export interface CacheProcess {
  readonly pid: number;
  /** `open`, `put` id content, `begin` id start-of-content (of 200 kB), `load` id, `close`; errors come as `{ code }`. */
  ask(command: string, ...args: readonly string[]): Promise<unknown>;
  /** kill -9; returns when it is gone. */
  kill(): Promise<void>;
}

export async function startCacheProcess(
  t: Pick<TestContext, 'after'>,
  folder: string,
  limitBytes: number,
): Promise<CacheProcess> {
  const child: ChildProcess = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      '--input-type=module',
      '-e',
      PROGRAM,
      folder,
      String(limitBytes),
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const exited = once(child, 'exit');
  const kill = async () => {
    child.kill('SIGKILL');
    await exited;
  };
  t.after(kill);
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const next = async () => {
    const line = await lines.next();
    if (line.done) throw new Error('The process that holds the cache has ended');
    return JSON.parse(line.value) as unknown;
  };
  await next();
  return {
    pid: child.pid!,
    ask: (command, ...args) => {
      child.stdin!.write(`${JSON.stringify([command, ...args])}\n`);
      return next();
    },
    kill,
  };
}
