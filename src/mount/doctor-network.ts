/** What the doctor looks at on the way to the servers, and in what they answer. */

import { messageOf, ThimbleError } from '../core/errors.ts';
import { MANIFEST_PATH, type Manifest, parseManifest } from '../core/manifest.ts';
import { importPublicKeys, verifyWhitelist } from '../core/trust.ts';
import { parseWhitelist, WHITELIST_PATH } from '../core/whitelist.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeSignatures } from '../node/signatures.ts';
import type { Check, Finding, Machine, Patient, Probe } from './doctor.ts';

/** Seconds. */
const LARGE_CLOCK_DIFFERENCE = 300;
const SLOW_FIRST_BYTE = 1;
const STALE_AFTER = 3600;
const EXPIRES_SOON = 7 * 24 * 3600;

export const NETWORK_CHECKS: readonly Check[] = [
  { name: 'names', subject: 'names of servers and proxies', look: checkNames },
  { name: 'servers', subject: 'servers', look: checkServers },
  { name: 'proxies', subject: 'proxies', look: checkProxies },
  { name: 'mirrors', subject: 'revisions of the servers', look: checkMirrors },
  { name: 'clock', subject: 'clock', look: checkClock },
  { name: 'latency', subject: 'time to the first byte', look: checkLatency },
  { name: 'keys', subject: 'public keys', look: checkKeys },
  { name: 'whitelist', subject: 'whitelist', look: checkWhitelist },
];

const REASONS: Readonly<Record<string, { readonly why: string; readonly hint: string }>> = {
  ECONNREFUSED: {
    why: 'nothing listens there',
    hint: 'start the server, or correct the port in its address',
  },
  ENOTFOUND: { why: 'its name is not known', hint: 'correct the name, or look at /etc/resolv.conf' },
  EAI_AGAIN: { why: 'the name server does not answer', hint: 'look at /etc/resolv.conf and the network' },
  EHOSTUNREACH: { why: 'there is no way to it', hint: 'look at routes and firewall of this machine' },
  ENETUNREACH: { why: 'there is no network', hint: 'connect this machine: ip addr; ip route' },
  ECONNRESET: { why: 'it broke the connection off', hint: 'look at its log, and for a firewall in between' },
  ENOENT: { why: 'it is not there', hint: 'correct its path' },
  EACCES: { why: 'it may not be read', hint: 'run this as root, or give read permission' },
};

function reasonOf(failure: string): { why: string; hint: string } {
  return (
    REASONS[failure] ?? {
      why: failure,
      hint: 'try it by hand with: curl -v ADDRESS/.cvmfspublished',
    }
  );
}

const isHttp = (address: string) => /^https?:\/\//.test(address);

/** The first proxy that is one, or none. */
const wayOf = ({ proxies }: Patient) => proxies[0] ?? 'DIRECT';

async function checkNames({ servers, proxies }: Patient, { resolve }: Machine): Promise<Finding[]> {
  const hosts = [...servers, ...proxies]
    .filter(isHttp)
    .map((address) => new URL(address).hostname.replace(/^\[|\]$/g, ''));
  const findings = [...new Set(hosts)].map(async (host): Promise<Finding[]> => {
    try {
      await resolve(host);
      return [];
    } catch (error) {
      const { why, hint } = reasonOf((error as NodeJS.ErrnoException).code ?? messageOf(error));
      return [{ severity: 'error', message: `Cannot find the address of ${host}: ${why}`, hint }];
    }
  });
  return (await Promise.all(findings)).flat();
}

/** Manifests by the way that the mount takes. */
function probes(patient: Patient, machine: Machine, file = MANIFEST_PATH): Promise<Probe[]> {
  return Promise.all(patient.servers.map((server) => machine.probe(server, wayOf(patient), file)));
}

async function checkServers(patient: Patient, machine: Machine): Promise<Finding[]> {
  if (patient.servers.length === 0) return [];
  const answers = await probes(patient, machine);
  const bad = answers.flatMap(serverFinding);
  const isAlone = bad.length === answers.length;
  // While one server answers, nobody waits for the others.
  return bad.map((finding) => (isAlone ? finding : { ...finding, severity: 'warning' }));
}

function serverFinding({ server, proxy, failure, status, body }: Probe): Finding[] {
  const through = proxy === 'DIRECT' ? '' : ` through ${proxy}`;
  if (failure !== undefined) {
    const { why, hint } = reasonOf(failure);
    return [{ severity: 'error', message: `Cannot reach ${server}${through}: ${why}`, hint }];
  }
  if (status === 404) {
    return [
      {
        severity: 'error',
        message: `${server} answers, and does not have this repository`,
        hint: 'correct the name at the end of the address',
      },
    ];
  }
  if (status !== 200) {
    return [
      {
        severity: 'error',
        message: `${server}${through} answers with status ${status}`,
        hint: 'look at the log of the server, or of the proxy',
      },
    ];
  }
  const manifest = manifestIn(body);
  if (!(manifest instanceof Error)) return [];
  return [
    {
      severity: 'error',
      message: `${server}${through} sends something that is no manifest: ${manifest.message}`,
      hint: 'a login page of a network looks like this; see what comes with: curl -v ADDRESS/.cvmfspublished',
    },
  ];
}

function manifestIn(body: Uint8Array): Manifest | Error {
  try {
    return parseManifest(nodeHashing, body).manifest;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

async function checkProxies({ servers, proxies }: Patient, { probe }: Machine): Promise<Finding[]> {
  const server = servers.find((address) => address.startsWith('http://'));
  const [first, ...others] = proxies;
  if (server === undefined || first === undefined) return [];
  const answers = await Promise.all(
    [...new Set([first, ...others])].map((proxy) => probe(server, proxy, MANIFEST_PATH)),
  );
  const direct = await probe(server, 'DIRECT', MANIFEST_PATH);
  return answers
    .filter(({ proxy }) => proxy !== 'DIRECT')
    .flatMap(({ proxy, failure, status }): Finding[] => {
      if (failure === undefined && status === 200) return [];
      const why = failure === undefined ? `it answers with status ${status}` : reasonOf(failure).why;
      const works = direct.status === 200 ? '; without it the server answers' : '';
      return [
        {
          severity: 'warning',
          message: `Cannot use proxy ${proxy}: ${why}${works}`,
          hint: 'look at the proxy, or take it out of the list',
        },
      ];
    });
}

async function checkMirrors(patient: Patient, machine: Machine): Promise<Finding[]> {
  const answers = (await probes(patient, machine)).flatMap(({ server, body, status }) => {
    const manifest = status === 200 ? manifestIn(body) : undefined;
    return manifest === undefined || manifest instanceof Error ? [] : [{ server, manifest }];
  });
  const newest = Math.max(...answers.map(({ manifest }) => manifest.revision));
  const newestSeconds = Math.max(...answers.map(({ manifest }) => manifest.publishedSeconds ?? 0));
  return answers.flatMap(
    ({ server, manifest: { revision, publishedSeconds = newestSeconds } }): Finding[] => {
      if (revision === newest) return [];
      const hours = Math.floor((newestSeconds - publishedSeconds) / 3600);
      return [
        {
          severity: newestSeconds - publishedSeconds > STALE_AFTER ? 'warning' : 'note',
          message: `${server} is behind: it has revision ${revision}, the newest is ${newest}${hours > 0 ? `, ${hours} h younger` : ''}`,
          hint: 'whoever runs it should look at its replication; thimble passes it over where others are newer',
        },
      ];
    },
  );
}

async function checkClock(patient: Patient, machine: Machine): Promise<Finding[]> {
  const differences = (await probes(patient, machine)).flatMap(({ dateSeconds }) =>
    dateSeconds === undefined ? [] : [machine.nowSeconds() - dateSeconds],
  );
  // Of several servers, the one that agrees most: a single one may be wrong itself.
  const [least] = differences.sort((a, b) => Math.abs(a) - Math.abs(b));
  if (least === undefined || Math.abs(least) < LARGE_CLOCK_DIFFERENCE) return [];
  const minutes = Math.round(Math.abs(least) / 60);
  return [
    {
      severity: 'error',
      message: `The clock of this machine is ${minutes} minutes ${least > 0 ? 'ahead of' : 'behind'} the servers: signatures look expired, or not yet valid`,
      hint: 'set it: timedatectl set-ntp true',
    },
  ];
}

async function checkLatency(patient: Patient, machine: Machine): Promise<Finding[]> {
  const answers = (await probes(patient, machine)).filter(({ failure }) => failure === undefined);
  const [first] = answers;
  if (first === undefined || first.firstByteSeconds < SLOW_FIRST_BYTE) return [];
  const faster = answers.find(({ firstByteSeconds }) => firstByteSeconds < first.firstByteSeconds / 2);
  const seconds = first.firstByteSeconds.toFixed(1);
  return [
    {
      severity: 'warning',
      message: `${first.server} is slow: the first byte came after ${seconds} s`,
      hint:
        faster === undefined
          ? 'a server or proxy that is nearer would help, or a profile: thimble record --help'
          : `put ${faster.server} first: it answers after ${faster.firstByteSeconds.toFixed(1)} s`,
    },
  ];
}

function checkKeys({ keyFiles, mount, fqrn }: Patient, machine: Machine): Finding[] {
  if (fqrn === undefined || mount?.status?.snapshot.isPinned) return [];
  if (keyFiles.length === 0) {
    return [
      {
        severity: 'error',
        message: `There is no public key for ${fqrn}: nothing of it can be trusted`,
        hint: 'give it with --key, or put it into /etc/cvmfs/keys',
      },
    ];
  }
  return keyFiles.flatMap((path): Finding[] => {
    const text = machine.readText(path);
    if (text === undefined) {
      const why = machine.refusal(path, 'read') ?? 'EIO';
      return [
        {
          severity: 'error',
          message: `Cannot read key ${path}: ${reasonOf(why).why}`,
          hint: reasonOf(why).hint,
        },
      ];
    }
    try {
      importPublicKeys(nodeSignatures, Buffer.from(text));
      return [];
    } catch (error) {
      return [
        {
          severity: 'error',
          message: `Cannot use key ${path}: ${messageOf(error)}`,
          hint: 'get it anew from whoever publishes the repository',
        },
      ];
    }
  });
}

async function checkWhitelist(patient: Patient, machine: Machine): Promise<Finding[]> {
  const { fqrn, keyFiles } = patient;
  const keys = keyFiles.flatMap((path) => usableKeys(machine.readText(path)));
  const masterKeys = keys.filter(({ kind }) => kind === 'rsa-public-key');
  if (fqrn === undefined || masterKeys.length === 0) return [];
  const answers = (await probes(patient, machine, WHITELIST_PATH)).filter(({ status }) => status === 200);
  return answers.flatMap(({ server, body }): Finding[] => {
    try {
      const signed = parseWhitelist(nodeHashing, body);
      const ports = { hashing: nodeHashing, signatures: nodeSignatures };
      verifyWhitelist(ports, signed, fqrn, masterKeys, machine.nowSeconds());
      const leftSeconds = signed.whitelist.expiresSeconds - machine.nowSeconds();
      if (leftSeconds > EXPIRES_SOON) return [];
      const hours = Math.floor(leftSeconds / 3600);
      return [
        {
          severity: 'warning',
          message: `The whitelist on ${server} expires in ${hours} hours`,
          hint: 'the publisher signs it again with: thimble repo resign',
        },
      ];
    } catch (error) {
      const hint = error instanceof ThimbleError ? error.hint : undefined;
      return [
        {
          severity: 'error',
          message: `${messageOf(error)} (${server})`,
          hint: hint ?? 'the publisher signs it again with: thimble repo resign',
        },
      ];
    }
  });
}

function usableKeys(pem: string | undefined) {
  try {
    return pem === undefined ? [] : importPublicKeys(nodeSignatures, Buffer.from(pem));
  } catch {
    // The check of keys tells.
    return [];
  }
}
