/**
 * A real object store for tests: Ceph's S3 gateway over one monitor and one disk in memory, all of them from Debian and on
 * free ports of this machine. Ready in about two seconds, gone after the tests.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { S3Location } from '../../src/storage/s3-location.ts';
import { freePort } from './raw-server.ts';
import { scratchFolder } from './scratch.ts';

const run = promisify(execFile);

const START_MS = 60_000;

export interface S3Server {
  readonly endpoint: string;
  readonly bucket: string;
  /** Of the bucket's owner, for the environment. */
  readonly credentials: { readonly AWS_ACCESS_KEY_ID: string; readonly AWS_SECRET_ACCESS_KEY: string };
  /** A place of its own in the bucket. */
  location(changes?: Partial<S3Location>): S3Location;
  /** As `location`, in the form of settings. */
  address(location: S3Location): string;
  /** Kills the gateway; what it has acknowledged stays. */
  kill(): Promise<void>;
  /** Starts a gateway that was killed, at the same address. */
  restart(): Promise<void>;
}

/** Credentials are put into the environment of this process, as its user would. */
export async function startS3Server(t: Pick<TestContext, 'after'>): Promise<S3Server> {
  const folder = scratchFolder(t);
  const [monitorPort, port] = [await freePort(), await freePort()];
  const endpoint = `http://127.0.0.1:${port}`;
  const configuration = writeConfiguration(folder, monitorPort, port);
  const daemons = new Set<ChildProcess>();
  t.after(() => Promise.all([...daemons].map(kill)));
  const start = (program: string, args: readonly string[]) => {
    // So that they end with this process, however it ends.
    const command = ['--pdeathsig', 'KILL', program, '-f', ...args, ...configuration];
    const child = spawn('setpriv', command, { stdio: 'ignore' });
    daemons.add(child);
    child.once('exit', () => daemons.delete(child));
    return child;
  };
  const monitorMap = join(folder, 'monmap');
  await run('monmaptool', [
    '--create',
    ...['--addv', 'a', `[v2:127.0.0.1:${monitorPort}]`, '--fsid', randomUUID(), monitorMap],
  ]);
  await run('ceph-mon', ['-i', 'a', '--mkfs', '--monmap', monitorMap, ...configuration]);
  start('ceph-mon', ['-i', 'a']);
  const disk = randomUUID();
  await run('ceph', ['--connect-timeout', '30', ...configuration, 'osd', 'new', disk]);
  await run('ceph-osd', ['-i', '0', '--mkfs', '--osd-uuid', disk, ...configuration]);
  start('ceph-osd', ['-i', '0']);
  const startGateway = async () => {
    const child = start('radosgw', ['-n', 'client.admin']);
    await answers(child, endpoint, folder);
    return child;
  };
  let gateway = await startGateway();
  const bucket = 'repositories';
  const [AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY] = ['test-access', randomBytes(20).toString('hex')];
  const credentials = { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY };
  await run('radosgw-admin', [
    ...['-n', 'client.admin', ...configuration, 'user', 'create', '--uid=test', '--display-name=test'],
    ...[`--access-key=${AWS_ACCESS_KEY_ID}`, `--secret-key=${AWS_SECRET_ACCESS_KEY}`],
  ]);
  Object.assign(process.env, credentials, { AWS_EC2_METADATA_DISABLED: 'true' });
  await makeBucket(endpoint, bucket);
  let places = 0;
  return {
    endpoint,
    bucket,
    credentials,
    location: (changes = {}) => ({
      kind: 's3',
      bucket,
      prefix: `place-${places++}/tree.example.org`,
      endpoint,
      region: undefined,
      style: 'path',
      acl: undefined,
      ...changes,
    }),
    address: (location) =>
      `s3://${location.bucket}/${location.prefix}?endpoint=${location.endpoint}` +
      (location.acl === undefined ? '' : `&acl=${location.acl}`),
    kill: () => kill(gateway),
    restart: async () => {
      gateway = await startGateway();
    },
  };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

async function makeBucket(endpoint: string, Bucket: string): Promise<void> {
  const { CreateBucketCommand, S3Client } = await import('@aws-sdk/client-s3');
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket }));
  client.destroy();
}

/** Waits until the gateway serves requests. */
async function answers(child: ChildProcess, endpoint: string, folder: string): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline && child.exitCode === null) {
    const isReady = await fetch(endpoint).then(
      (response) => response.body?.cancel().then(() => true),
      () => false,
    );
    if (isReady === true) return;
    await sleep(50);
  }
  const log = readFileSync(join(folder, 'client.admin.log'), 'utf8');
  throw new Error(`The S3 gateway does not start:\n${log.slice(-2000)}`);
}

/** One copy of everything, in memory; no waiting for others to propose changes to the cluster's map. */
function writeConfiguration(folder: string, monitorPort: number, port: number): string[] {
  for (const name of ['mon', 'osd', 'rgw']) mkdirSync(join(folder, name));
  // Kind, time (two numbers), length, key.
  const key = Buffer.concat([Buffer.from('010000000000000000001000', 'hex'), randomBytes(16)]);
  const entry = (name: string) =>
    `[${name}]\n key = ${key.toString('base64')}\n caps mon = "allow *"\n caps osd = "allow *"\n`;
  writeFileSync(join(folder, 'keyring'), ['mon.', 'client.admin', 'osd.0'].map(entry).join(''));
  const file = join(folder, 'ceph.conf');
  writeFileSync(
    file,
    `[global]
fsid = ${randomUUID()}
mon host = v2:127.0.0.1:${monitorPort}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = ${folder}/keyring
run dir = ${folder}
log file = ${folder}/$name.log
pid file =
admin socket =
mon data = ${folder}/mon
mon data avail crit = 0
mon allow pool size one = true
paxos propose interval = 0.02
paxos min wait = 0.01
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd class load list = *
osd class default list = *
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
rgw data = ${folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:${port} tcp_nodelay=1
rgw rados pool pg num min = 1
rgw thread pool size = 64
rgw dns name = s3.localhost
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
`,
  );
  return ['-c', file];
}
