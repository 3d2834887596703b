import type { Command } from 'commander';
import { settingsOf } from '../../config/load-settings.ts';
import { errorCodeOf, messageOf, ThimbleError } from '../../core/errors.ts';
import { type Fqrn, isFqrn } from '../../core/fqrn.ts';
import {
  type Check,
  type CheckResult,
  examine,
  type Finding,
  type Patient,
  worstOf,
} from '../../mount/doctor.ts';
import { LOCAL_CHECKS } from '../../mount/doctor-local.ts';
import { thisMachine } from '../../mount/doctor-machine.ts';
import { NETWORK_CHECKS } from '../../mount/doctor-network.ts';
import { type MountReport, reportMounts } from '../../mount/status-mounts.ts';
import { addClientOptions, addressOf, type ClientOptions, clientConfiguration } from '../client-settings.ts';
import { printResult, styled } from '../terminal.ts';

type DoctorOptions = ClientOptions & { readonly all?: boolean };

interface Examination {
  /** Mount point, address, or "this machine". */
  readonly subject: string;
  readonly results: readonly CheckResult[];
}

/** docs/manual/exit-codes.md. */
const EXIT_FINDINGS = 12;

const CHECKS: readonly Check[] = [...LOCAL_CHECKS, ...NETWORK_CHECKS];

export function configure(command: Command): void {
  addClientOptions(
    command.argument('[target]', 'mount point, or address or name of a repository (default: all mounts)'),
  )
    .option('--all', 'name also the checks that found nothing')
    .addHelpText(
      'after',
      '\nEnds with 0 if nothing is wrong, else with 12. Mounts themselves are not touched.\n\nExamples:\n  thimble doctor\n  thimble doctor /mnt/os\n  thimble doctor http://host:8000/cvmfs/os.example.org --key os.example.org.pub',
    )
    .action(async (target: string | undefined, _: unknown, self: Command) =>
      run(target, self.optsWithGlobals<DoctorOptions>()),
    );
}

async function run(target: string | undefined, options: DoctorOptions): Promise<void> {
  const machine = thisMachine();
  const patients = await patientsOf(target, options);
  const examinations = await Promise.all(
    patients.map(
      async ({ subject, patient }): Promise<Examination> => ({
        subject,
        results: await examine(patient, machine, CHECKS),
      }),
    ),
  );
  const worst = worstOf(examinations.flatMap(({ results }) => results));
  printResult(
    options,
    { examinations },
    examinations.map((one) => describe(one, options.all ?? false)).join('\n\n'),
  );
  if (worst !== undefined) process.exitCode = EXIT_FINDINGS;
}

/** All mounts, one, or a repository that is not mounted. Throws USAGE, NOT_FOUND. */
async function patientsOf(
  target: string | undefined,
  options: DoctorOptions,
): Promise<{ subject: string; patient: Patient }[]> {
  const reports = await reportsOf(target);
  if (reports.length > 0)
    return reports.map((mount) => ({ subject: mount.mountpoint, patient: mountedPatient(mount) }));
  if (target === undefined) return [{ subject: 'this machine', patient: NOBODY }];
  return [{ subject: target, patient: configuredPatient(target, options) }];
}

const NOBODY: Patient = {
  fqrn: undefined,
  mount: undefined,
  servers: [],
  proxies: [],
  keyFiles: [],
  cacheFolder: undefined,
  logFile: undefined,
  configuration: [],
};

/** A repository that is not mounted, as it would be. */
function configuredPatient(target: string, options: DoctorOptions): Patient {
  const found = clientConfiguration(target, options);
  const configuration = [
    ...found.errors.map(findingOf),
    ...found.findings
      .filter(({ severity }) => severity !== 'note')
      .map(({ severity, where, message }) => ({ severity, message: `${where}: ${message}` })),
  ];
  const unconfigured = { ...NOBODY, fqrn: found.fqrn };
  if (found.errors.length > 0) return { ...unconfigured, configuration };
  try {
    const settings = settingsOf(found);
    const { servers, proxies, keyFiles } = addressOf(settings);
    return { ...unconfigured, servers, proxies, keyFiles, cacheFolder: settings.cache.folder, configuration };
  } catch (error) {
    return { ...unconfigured, configuration: [...configuration, findingOf(error)] };
  }
}

function findingOf(error: unknown): Finding {
  const hint = error instanceof ThimbleError ? error.hint : undefined;
  return { severity: 'error', message: messageOf(error), ...(hint === undefined ? {} : { hint }) };
}

async function reportsOf(target: string | undefined): Promise<MountReport[]> {
  try {
    return target !== undefined && /^(https?|file):/.test(target) ? [] : await reportMounts(target);
  } catch (error) {
    // Then it is the name of a repository.
    if (errorCodeOf(error) === 'NOT_FOUND' && target !== undefined && isFqrn(target.split('/').at(-1) ?? ''))
      return [];
    throw error;
  }
}

function mountedPatient(mount: MountReport): Patient {
  const { servers = [], proxies = [], keyFiles = [], cacheFolder, logFile } = mount.server ?? {};
  return { ...NOBODY, fqrn: mount.fqrn as Fqrn, mount, servers, proxies, keyFiles, cacheFolder, logFile };
}

const MARKS = { error: ['red', '✗'], warning: ['yellow', '!'], note: ['cyan', '·'] } as const;

function describe({ subject, results }: Examination, withAll: boolean): string {
  const worst = worstOf(results);
  const lines = results.flatMap(({ subject: what, findings }) => {
    if (findings.length === 0) return withAll ? [`  ${styled('green', '✓', process.stdout)} ${what}`] : [];
    return findings.map(({ severity, message, hint }) => {
      const [style, mark] = MARKS[severity];
      const first = `  ${styled(style, mark, process.stdout)} ${message}`;
      return hint === undefined ? first : `${first}\n    hint: ${hint}`;
    });
  });
  const fine = `${results.length} checks, nothing wrong`;
  const head = `${styled('bold', subject, process.stdout)}  ${worst === undefined ? styled('green', fine, process.stdout) : `${results.length} checks`}`;
  return [head, ...lines].join('\n');
}
