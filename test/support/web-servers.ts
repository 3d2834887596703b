/** nginx and squid with a configuration of their own, on a free port, gone after the test. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePort } from './raw-server.ts';
import { scratchFolder } from './scratch.ts';

/** Serves the folder below `/cvmfs/<name>`; `options` go into the `server` block. */
export async function startNginx(
  t: Pick<TestContext, 'after'>,
  name: string,
  folder: string,
  options = '',
): Promise<string> {
  const scratch = scratchFolder(t);
  const port = await freePort();
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${scratch};`,
  );
  const configuration = join(scratch, 'nginx.conf');
  writeFileSync(
    configuration,
    `daemon off;
user root;
worker_processes 1;
pid ${scratch}/pid;
error_log stderr notice;
events {}
http {
  access_log off;
  ${temporary.join(' ')}
  server {
    listen 127.0.0.1:${port};
    ${options}
    location /cvmfs/${name}/ { alias ${folder}/; }
  }
}
`,
  );
  const args = ['-p', scratch, '-c', configuration, '-e', 'stderr'];
  await start(t, '/usr/sbin/nginx', args, /start worker process /);
  return `http://127.0.0.1:${port}/cvmfs/${name}`;
}

/** A caching proxy that keeps what it may in memory, and wants a user name and a password where one is given. */
export async function startSquid(
  t: Pick<TestContext, 'after'>,
  login?: ProxyLogin,
  givenPort?: number,
): Promise<string> {
  const scratch = scratchFolder(t);
  const port = givenPort ?? (await freePort());
  const configuration = join(scratch, 'squid.conf');
  writeFileSync(
    configuration,
    `http_port 127.0.0.1:${port}
${login === undefined ? 'http_access allow all' : squidLogin(scratch, login)}
cache_mem 32 MB
maximum_object_size_in_memory 8 MB
memory_cache_shared off
access_log none
cache_log stdio:/dev/null
pid_filename none
netdb_filename none
pinger_enable off
coredump_dir ${scratch}
visible_hostname test.invalid
shutdown_lifetime 0 seconds
connect_timeout 2 seconds
`,
  );
  await start(
    t,
    '/usr/sbin/squid',
    ['-N', '-d', '1', '-f', configuration],
    /Accepting HTTP Socket/,
    'SIGKILL',
  );
  return `http://127.0.0.1:${port}`;
}

export interface ProxyLogin {
  readonly user: string;
  readonly password: string;
}

/** Squid asks a program, one line for each login. */
function squidLogin(scratch: string, { user, password }: ProxyLogin): string {
  const program = join(scratch, 'login.sh');
  const script = `#!/bin/sh\nwhile read -r line; do case "$line" in '${user} ${password}') echo OK;; *) echo ERR;; esac; done\n`;
  writeFileSync(program, script, { mode: 0o755 });
  chmodSync(scratch, 0o755);
  return `auth_param basic program ${program}
auth_param basic children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all`;
}

/** Starts a server that tells on standard error when it is ready, and ends it after the test. */
async function start(
  t: Pick<TestContext, 'after'>,
  program: string,
  args: readonly string[],
  ready: RegExp,
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exited = once(child, 'exit');
  t.after(async () => {
    child.kill(signal);
    await exited;
  });
  let messages = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      messages += text;
      if (ready.test(messages)) resolve();
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${program} ended:\n${messages}`)));
  });
}
