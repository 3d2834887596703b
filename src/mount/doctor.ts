/**
 * What is wrong with a mount, in words, and what to do. Each check is a row of a table: it looks at one thing, by itself,
 * and answers with findings; none of them touches the mount, and each has a time limit.
 */

import { messageOf } from '../core/errors.ts';
import type { Fqrn } from '../core/fqrn.ts';
import type { MountReport } from './status-mounts.ts';

export type Severity = 'error' | 'warning' | 'note';

export interface Finding {
  readonly severity: Severity;
  /** What is wrong, in a sentence. */
  readonly message: string;
  readonly hint?: string;
}

/** What there is to look at: a mount, an address that fails to mount, or both. */
export interface Patient {
  readonly fqrn: Fqrn | undefined;
  /** How the mount is, if it is one. */
  readonly mount: MountReport | undefined;
  /** Base addresses of the repository; those that are no `http` are folders. */
  readonly servers: readonly string[];
  /** `http://` addresses and `DIRECT`. */
  readonly proxies: readonly string[];
  readonly keyFiles: readonly string[];
  readonly cacheFolder: string | undefined;
  readonly logFile: string | undefined;
  /** What is wrong in files of the configuration. */
  readonly configuration: readonly Finding[];
}

export interface Check {
  readonly name: string;
  /** What it looks at, for lists. */
  readonly subject: string;
  readonly look: (patient: Patient, machine: Machine) => Promise<readonly Finding[]> | readonly Finding[];
}

/** The answer of a server to a request for its manifest. */
export interface Probe {
  readonly server: string;
  readonly proxy: string;
  /** Why there is no answer: an error code such as `ECONNREFUSED`, or a sentence. */
  readonly failure: string | undefined;
  readonly status: number;
  readonly body: Uint8Array;
  /** Of the server's clock, by its `Date` header. */
  readonly dateSeconds: number | undefined;
  readonly firstByteSeconds: number;
}

/** This machine, as checks see it; tests have others. */
export interface Machine {
  /** Text of a file; `undefined` if it cannot be read. */
  readonly readText: (path: string) => string | undefined;
  /** Why a file or folder cannot be used: an error code; `undefined` if it can. */
  readonly refusal: (path: string, use: 'read' | 'write') => string | undefined;
  /** Room on the disk that a folder is on; `undefined` if it is not there. */
  readonly freeBytes: (folder: string) => number | undefined;
  readonly nowSeconds: () => number;
  readonly isRoot: boolean;
  /** Addresses of a host. Throws what the resolver throws. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** Asks for a file at the top of a repository; the same question gets the same answer. */
  readonly probe: (server: string, proxy: string, file: string) => Promise<Probe>;
}

export interface CheckResult {
  readonly name: string;
  readonly subject: string;
  readonly seconds: number;
  readonly findings: readonly Finding[];
}

/** A check that takes longer than this is a finding itself. */
const CHECK_TIMEOUT_MS = 15_000;

/** Runs all checks, side by side; results are in the order of the table. Throws nothing. */
export function examine(
  patient: Patient,
  machine: Machine,
  checks: readonly Check[],
  timeoutMs = CHECK_TIMEOUT_MS,
): Promise<CheckResult[]> {
  return Promise.all(
    checks.map(async ({ name, subject, look }) => {
      const startedMs = performance.now();
      const findings = await withTimeout(async () => look(patient, machine), timeoutMs).catch(
        (error: unknown): Finding[] => [
          { severity: 'warning', message: `Cannot check ${subject}: ${messageOf(error)}` },
        ],
      );
      return { name, subject, seconds: (performance.now() - startedMs) / 1000, findings };
    }),
  );
}

async function withTimeout<T>(work: () => Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The worst of all; `undefined` if nothing was found, or only notes. */
export function worstOf(results: readonly CheckResult[]): 'error' | 'warning' | undefined {
  const found = results.flatMap(({ findings }) => findings.map(({ severity }) => severity));
  return found.includes('error') ? 'error' : found.includes('warning') ? 'warning' : undefined;
}
