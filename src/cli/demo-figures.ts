/** What the demo measures, and the table that shows it. */

import { formatBytes, formatCount } from './terminal.ts';

export interface DemoFigures {
  readonly imageBytes: number;
  /** Content of all files. */
  readonly treeBytes: number;
  readonly treeFiles: number;
  /** The same as it lies in the repository: compressed, each content once. */
  readonly compressedTreeBytes: number;
  readonly publishSeconds: number;
  readonly imageSeconds: number;
  readonly traditionalImageBytes: number;
  readonly traditionalSeconds: number;
  readonly fetchedBytesToLogin: number;
  readonly requestsToLogin: number;
  readonly secondsToLoginCold: number;
  readonly secondsToLoginWarm: number;
  /** Of a profile made from the requests of the cold boot, and of a cold boot that streams it. */
  readonly profileBytes: number;
  readonly profileObjects: number;
  readonly secondsToLoginProfiled: number;
  readonly requestsToLoginProfiled: number;
  readonly fetchedBytesToLoginProfiled: number;
  readonly fileSystemWaitSecondsProfiled: number;
  /** Of the cold boot: in how much of it at least one process waited for the file system. */
  readonly fileSystemWaitSeconds: number;
  readonly rootFileSystem: string;
  readonly systemState: string;
  readonly updateNewBytes: number;
  readonly updateSeconds: number;
  readonly updateSeen: boolean;
  readonly oldSnapshotSeen: boolean;
  readonly shutdownClean: boolean;
  readonly accelerator: string;
  /** Commands that boot it again. */
  readonly bootAgain: readonly string[];
}

export function formatFigures(figures: DemoFigures): string {
  const share = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`;
  const seconds = (value: number) => `${value.toFixed(1)} s`;
  const yes = (value: boolean) => (value ? 'yes' : 'NO');
  const rows: [string, string, string][] = [
    ['', 'Thimble', 'disk image'],
    [
      'what is copied to start a machine',
      formatBytes(figures.imageBytes),
      formatBytes(figures.traditionalImageBytes),
    ],
    [
      'made from the tree in',
      `${seconds(figures.publishSeconds)} to publish, ${seconds(figures.imageSeconds)} for the boot image, once`,
      `${seconds(figures.traditionalSeconds)}, for each change`,
    ],
    [
      'fetched until login',
      `${formatBytes(figures.fetchedBytesToLogin)} in ${formatCount(figures.requestsToLogin)} requests`,
      'everything',
    ],
    [
      'share of the compressed tree',
      share(figures.fetchedBytesToLogin, figures.compressedTreeBytes),
      '100 %',
    ],
    [
      'to distribute a one-file security update',
      `${formatBytes(figures.updateNewBytes)}, published in ${seconds(figures.updateSeconds)}`,
      formatBytes(figures.traditionalImageBytes),
    ],
  ];
  const facts: [string, string][] = [
    [
      'tree',
      `${formatCount(figures.treeFiles)} entries, ${formatBytes(figures.treeBytes)}, ${formatBytes(figures.compressedTreeBytes)} compressed`,
    ],
    [
      'power-on to login, nothing cached',
      `${seconds(figures.secondsToLoginCold)} (${figures.accelerator === 'kvm' ? 'KVM' : 'software emulation'})`,
    ],
    [
      '  of which a process waited for the file system',
      `${seconds(figures.fileSystemWaitSeconds)}, ${share(figures.fileSystemWaitSeconds, figures.secondsToLoginCold)}`,
    ],
    [
      'the same with a boot profile',
      `${seconds(figures.secondsToLoginProfiled)}, ${formatCount(figures.requestsToLoginProfiled)} requests in place of ${formatCount(figures.requestsToLogin)}`,
    ],
    [
      '  of which a process waited for the file system',
      `${seconds(figures.fileSystemWaitSecondsProfiled)}, ${share(figures.fileSystemWaitSecondsProfiled, figures.secondsToLoginProfiled)}`,
    ],
    ['power-on to login, with a cache disk', seconds(figures.secondsToLoginWarm)],
    ['root file system', figures.rootFileSystem],
    ['system state', figures.systemState],
    ['security update seen at the next boot', yes(figures.updateSeen)],
    ['historic snapshot boots, with its old file', yes(figures.oldSnapshotSeen)],
    ['every shutdown clean', yes(figures.shutdownClean)],
  ];
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  return [
    ...rows.map(([name, ours, theirs]) =>
      `${name.padEnd(widths[0]!)}   ${ours.padEnd(widths[1]!)}   ${theirs}`.trimEnd(),
    ),
    '',
    ...facts.map(([name, value]) => `${name.padEnd(48)} ${value}`),
    '',
    'Boot it again:',
    ...figures.bootAgain.map((command) => `  ${command}`),
  ].join('\n');
}
