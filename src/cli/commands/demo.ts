import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { Writable } from 'node:stream';
import type { Command } from 'commander';
import { MountedSnapshot } from '../../client/mounted-snapshot.ts';
import { parseAccessLog } from '../../client/profile/recording.ts';
import { defaultCacheFolder } from '../../config/places.ts';
import { ThimbleError } from '../../core/errors.ts';
import { parseFqrn } from '../../core/fqrn.ts';
import { silentLog } from '../../core/ports.ts';
import type { Profile } from '../../core/profile-index.ts';
import { buildIso } from '../../image/build-image.ts';
import { buildTraditionalImage } from '../../image/traditional.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { openRepository } from '../../node/repository-access.ts';
import { createRepository } from '../../publish/create-repository.ts';
import { FolderTree } from '../../publish/folder-tree.ts';
import { publicKeyFiles } from '../../publish/key-paths.ts';
import { loadKeys } from '../../publish/keys.ts';
import { publishProfile } from '../../publish/profiles.ts';
import { Publisher, type PublishResult } from '../../publish/publisher.ts';
import { defaultSettings, RepositoryRegistry } from '../../publish/repository-settings.ts';
import { RepositoryServer } from '../../server/repository-server.ts';
import { LOGIN_PROMPT, Machine, type MachineOptions } from '../../vm/machine.ts';
import { DEMO_PACKAGES, ensurePackages } from '../debian-packages.ts';
import { type DemoFigures, formatFigures } from '../demo-figures.ts';
import { publisherPorts } from '../publisher-ports.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult, withProgress } from '../terminal.ts';
import { buildTree } from './os.ts';

interface DemoOptions extends GlobalOptions {
  readonly out: string;
  readonly suite: string;
  readonly tree?: string;
  readonly memory: string;
}

const FQRN = parseFqrn('debian.thimble.example');
/** The image has it from the beginning; the first machine finds that there is none yet. */
const PROFILE = 'boot';
const PREFERRED_PORT = 8000;
/** QEMU's user network shows this machine to the guest at this address. */
const HOST_AS_SEEN_BY_GUEST = '10.0.2.2';
const BOOT_TIMEOUT_MS = 300_000;
const COMMAND_TIMEOUT_MS = 120_000;
const OFF_TIMEOUT_MS = 120_000;
const DISK_BYTES = 4 * 1024 ** 3;
const WHITELIST_DAYS = 365;
const MEMORY_BYTES = 512 * 1024 * 1024;

/** The file that the "security update" changes. */
const FIXED_FILE = '/usr/share/thimble-demo/library';
const BEFORE = 'library 1.0, vulnerable';
const AFTER = 'library 1.1, fixed';

export function configure(command: Command): void {
  command
    .option('--out <folder>', 'where image and repository are left', 'out')
    .option('--suite <name>', 'Debian release', 'trixie')
    .option('--tree <file>', 'use this tar file instead of building a tree')
    .option('--memory <size>', 'memory of the machines, in MB', '1024')
    .addHelpText(
      'after',
      '\nBuilds a minimal Debian server, publishes it, boots machines from an image that holds only kernel and initrd,\npublishes a security update and boots that, and boots the old snapshot again. Takes some minutes, and root.\n\nExample:\n  thimble demo --json',
    )
    .action(async (_: unknown, self: Command) => {
      const options = self.optsWithGlobals<DemoOptions>();
      const demo = new Demo(options);
      const figures = await demo.run();
      printResult(options, figures, formatFigures(figures));
    });
}

interface BootResult {
  readonly seconds: number;
  readonly bytes: number;
  readonly requests: number;
  /** Of the server, until the login. */
  readonly accessLog: string;
}

class Demo {
  readonly #options: DemoOptions;
  readonly #out: string;
  readonly #work: string;
  readonly #storage: string;
  readonly #image: string;
  readonly #registry: RepositoryRegistry;
  #server: RepositoryServer | undefined;
  #port = 0;
  /** Of the boot that runs. */
  #accessLog: string[] = [];

  constructor(options: DemoOptions) {
    this.#options = options;
    this.#out = resolve(options.out);
    this.#work = join(this.#out, 'work');
    this.#storage = join(this.#out, 'cvmfs', FQRN);
    this.#image = join(this.#out, `${FQRN}.iso`);
    this.#registry = new RepositoryRegistry(join(this.#out, 'config'));
  }

  async run(): Promise<DemoFigures> {
    if (process.getuid?.() !== 0) {
      throw new ThimbleError(
        'USAGE',
        'Cannot run the demo without root: the tree has files of many owners, and devices',
        {
          hint: 'run it with sudo',
        },
      );
    }
    ensurePackages(DEMO_PACKAGES, (line) => process.stderr.write(`${line}\n`));
    // What an earlier demo left is replaced as a whole: its keys belong to its image.
    for (const path of [this.#work, join(this.#out, 'cvmfs'), join(this.#out, 'config'), this.#image]) {
      rmSync(path, { recursive: true, force: true });
    }
    mkdirSync(this.#work, { recursive: true });
    try {
      return await this.#steps();
    } finally {
      await this.#server?.close();
      rmSync(this.#work, { recursive: true, force: true });
    }
  }

  /** In the order of need: the first goes on as long as machines run. */
  #bootAgain(): string[] {
    const here = (path: string) => (relative('', path).startsWith('..') ? path : relative('', path));
    const config = here(join(this.#out, 'config'));
    const run = `./thimble vm run ${here(this.#image)} --autologin`;
    return [
      `./thimble --config ${config} serve ${FQRN} --host 127.0.0.1 --port ${this.#port}`,
      run,
      `${run} --tag v1`,
    ];
  }

  async #steps(): Promise<DemoFigures> {
    const tree = await this.#buildTree();
    const [first, publishSeconds] = await timed(() => this.#createAndPublish(tree));
    await this.#serve();
    const [, imageSeconds] = await timed(() => this.#buildImage());
    const imageBytes = statSync(this.#image).size;
    const [traditionalImageBytes, traditionalSeconds] = await this.#buildTraditional(tree);

    const disk = { path: join(this.#work, 'scratch.img'), sizeBytes: DISK_BYTES };
    const cold = await this.#boot('Boot, nothing cached', { disk }, async (machine, boot) => {
      return {
        ...boot,
        ...(await bootStatus(machine)),
        rootFileSystem: await rootFileSystem(machine),
        systemState: await machine.shell('systemctl is-system-running --wait', COMMAND_TIMEOUT_MS),
      };
    });
    const isDiskClean = checkDisk(disk.path);
    const profile = await this.#publishProfile(cold.result.accessLog);
    const blank = { path: join(this.#work, 'blank.img'), sizeBytes: DISK_BYTES };
    const title = 'Boot another machine, nothing cached, with the profile';
    const profiled = await this.#boot(title, { disk: blank }, async (machine, boot) => ({
      ...boot,
      ...(await bootStatus(machine)),
    }));
    rmSync(blank.path);
    const warm = await this.#boot('Boot again, with a cache disk', { disk }, async (_, boot) => boot);

    const [update, updateSeconds] = await timed(() => this.#publishUpdate(tree));
    const readFixed = async (machine: Machine) => machine.shell(`cat ${FIXED_FILE}`, COMMAND_TIMEOUT_MS);
    const updated = await this.#boot('Boot after the security update', { disk }, readFixed);
    const historic = await this.#boot(
      'Boot the historic snapshot v1',
      { disk, settings: ['thimble.tag=v1'] },
      readFixed,
    );

    return {
      imageBytes,
      treeBytes: first.fileBytes,
      treeFiles: first.entries,
      compressedTreeBytes: first.newBytes,
      publishSeconds,
      imageSeconds,
      traditionalImageBytes,
      traditionalSeconds,
      fetchedBytesToLogin: cold.result.bytes,
      requestsToLogin: cold.result.requests,
      secondsToLoginCold: cold.result.seconds,
      secondsToLoginWarm: warm.result.seconds,
      profileBytes: profile.storedBytes,
      profileObjects: profile.objects,
      secondsToLoginProfiled: profiled.result.seconds,
      requestsToLoginProfiled: profiled.result.requests,
      fetchedBytesToLoginProfiled: profiled.result.bytes,
      fileSystemWaitSecondsProfiled: profiled.result.waitedSeconds,
      fileSystemWaitSeconds: cold.result.waitedSeconds,
      rootFileSystem: cold.result.rootFileSystem,
      systemState: cold.result.systemState,
      updateNewBytes: update.newBytes,
      updateSeconds,
      updateSeen: updated.result === AFTER,
      oldSnapshotSeen: historic.result === BEFORE,
      shutdownClean: isDiskClean && [cold, profiled, warm, updated, historic].every(({ wentOff }) => wentOff),
      accelerator: cold.accelerator,
      bootAgain: this.#bootAgain(),
    };
  }

  async #buildTree(): Promise<string> {
    const tar = this.#options.tree ?? join(this.#work, 'os.tar');
    if (this.#options.tree === undefined) await buildTree(this.#options.suite, tar, []);
    const folder = join(this.#work, 'tree');
    await withProgress(
      'Unpack it',
      async () => {
        mkdirSync(folder);
        must('tar', ['-xpf', tar, '-C', folder, '--numeric-owner', '--xattrs', '--xattrs-include=*']);
        writeFixedFile(folder, BEFORE);
      },
      () => '',
    );
    return folder;
  }

  async #createAndPublish(tree: string): Promise<PublishResult> {
    const settings = { ...defaultSettings(FQRN, this.#storage), whitelistDays: WHITELIST_DAYS };
    await createRepository(this.#registry, settings, publisherPorts);
    return this.#publish('Publish it as snapshot v1', tree, 'v1', 'first release');
  }

  #publish(title: string, tree: string, tag: string, description: string): Promise<PublishResult> {
    const folder = this.#registry.folderOf(FQRN);
    const target = { settings: this.#registry.load(FQRN), keys: loadKeys(folder, FQRN), folder };
    return withProgress(
      title,
      (progress) =>
        new Publisher(target, publisherPorts).publish(new FolderTree(tree), {
          tag: { name: tag, description },
          onProgress: ({ entries }) => progress.update(() => `${formatCount(entries)} entries`),
        }),
      ({ entries, newBytes }) => `${formatCount(entries)} entries, ${formatBytes(newBytes)} new`,
    );
  }

  async #publishUpdate(tree: string): Promise<PublishResult> {
    writeFixedFile(tree, AFTER);
    return this.#publish('Publish a security update as v2', tree, 'v2', 'security update');
  }

  /** Of what the first machine asked for until its login. */
  async #publishProfile(accessLog: string): Promise<Profile> {
    const folder = this.#registry.folderOf(FQRN);
    const target = { settings: this.#registry.load(FQRN), keys: loadKeys(folder, FQRN), folder };
    const recording = parseAccessLog(accessLog, FQRN);
    return withProgress(
      'Publish a boot profile of what it asked the server for',
      async () => (await publishProfile(target, publisherPorts, { name: PROFILE, recording })).profile,
      ({ objects, storedBytes }) => `${formatCount(objects)} objects, ${formatBytes(storedBytes)}`,
    );
  }

  async #serve(): Promise<void> {
    const repositories = [{ fqrn: FQRN, folder: this.#storage }];
    const accessLog = new Writable({
      write: (line: Buffer, _, done) => {
        this.#accessLog.push(line.toString());
        done();
      },
    });
    for (const port of [PREFERRED_PORT, 0]) {
      this.#server = new RepositoryServer(repositories, { host: '127.0.0.1', port, accessLog });
      try {
        this.#port = Number(new URL(await this.#server.listen()).port);
        return;
      } catch (error) {
        // Somebody else has the port that is easy to remember.
        if (port === 0) throw error;
      }
    }
  }

  async #buildImage(): Promise<void> {
    const keyFiles = publicKeyFiles(this.#registry.folderOf(FQRN), FQRN);
    const access = openRepository(
      { fqrn: FQRN, servers: [this.#storage], proxies: [], keyFiles },
      { cacheFolder: undefined, cacheLimitBytes: MEMORY_BYTES, log: silentLog },
    );
    await withProgress(
      'Build the boot image',
      async (progress) => {
        const snapshot = await access.repository.resolve({});
        const mounted = await MountedSnapshot.open(snapshot, access.objects, { hashing: nodeHashing });
        return buildIso(mounted, {
          fqrn: FQRN,
          servers: [`http://${HOST_AS_SEEN_BY_GUEST}:${this.#port}/cvmfs/@fqrn@`],
          proxies: [],
          profile: PROFILE,
          keys: keyFiles.map((file) => readFileSync(file)),
          output: this.#image,
          cacheFolder: join(defaultCacheFolder(), 'initrd'),
          onProgress: (what) => progress.update(() => what),
        });
      },
      ({ kernelVersion }) => `kernel ${kernelVersion}, ${formatBytes(statSync(this.#image).size)}`,
    );
    access.close();
  }

  async #buildTraditional(tree: string): Promise<[bytes: number, seconds: number]> {
    // A copy: the boot menu and the initrd of a disk image are not part of the tree.
    const copy = join(this.#work, 'traditional');
    must('cp', ['-a', tree, copy]);
    const output = join(this.#work, 'traditional.qcow2');
    const [bytes, seconds] = await timed(() =>
      withProgress(
        'For comparison, a disk image of the same tree',
        async () => {
          buildTraditionalImage(copy, output);
          return statSync(output).size;
        },
        formatBytes,
      ),
    );
    for (const path of [copy, output]) rmSync(path, { recursive: true });
    return [bytes, seconds];
  }

  /** Boots, measures until login, does something, and powers off. */
  async #boot<T>(
    title: string,
    more: Partial<MachineOptions>,
    use: (machine: Machine, boot: BootResult) => Promise<T>,
  ): Promise<{ result: T; wentOff: boolean; accelerator: string }> {
    return withProgress(
      title,
      async (progress) => {
        const before = this.#server!.totals();
        this.#accessLog = [];
        const memoryMiB = Number(this.#options.memory);
        const machine = await Machine.start({ image: this.#image, memoryMiB, autologin: true, ...more });
        const timer = setInterval(() => progress.update(() => machine.tail(1)), 200);
        try {
          await machine.waitFor(LOGIN_PROMPT, BOOT_TIMEOUT_MS);
          const seconds = machine.upSeconds;
          const after = this.#server!.totals();
          const accessLog = this.#accessLog.join('');
          await machine.waitForShell(COMMAND_TIMEOUT_MS);
          const result = await use(machine, {
            seconds,
            bytes: after.bytes - before.bytes,
            requests: after.requests - before.requests,
            accessLog,
          });
          return { result, wentOff: await powerOff(machine), accelerator: machine.accelerator, seconds };
        } finally {
          clearInterval(timer);
          await machine.kill();
        }
      },
      ({ seconds }) => `login after ${seconds.toFixed(1)} s`,
    );
  }
}

async function timed<T>(work: () => Promise<T>): Promise<[T, number]> {
  const startedMs = performance.now();
  const result = await work();
  return [result, (performance.now() - startedMs) / 1000];
}

/** True if the machine said goodbye through our own shutdown hook and switched itself off. */
async function powerOff(machine: Machine): Promise<boolean> {
  const from = machine.console.length;
  machine.type('poweroff\n');
  try {
    await machine.waitFor(/thimble: poweroff/, OFF_TIMEOUT_MS, from);
    await machine.waitFor(/reboot: Power down/, OFF_TIMEOUT_MS, from);
    return (await machine.exited) === 0;
  } catch (error) {
    if (error instanceof ThimbleError && error.code === 'CANCELLED') return false;
    throw error;
  }
}

/** What the file system tells of itself. */
async function bootStatus(machine: Machine): Promise<{ readonly waitedSeconds: number }> {
  const text = await machine.shell('cat /run/initramfs/status.json', COMMAND_TIMEOUT_MS);
  const { waitedMs } = JSON.parse(text) as { waitedMs: number };
  return { waitedSeconds: waitedMs / 1000 };
}

async function rootFileSystem(machine: Machine): Promise<string> {
  const type = await machine.shell('stat -f -c %T /', COMMAND_TIMEOUT_MS);
  const lower = await machine.shell(
    "grep -o ' /run/initramfs/ro [^ ]*' /proc/mounts | cut -d' ' -f3",
    COMMAND_TIMEOUT_MS,
  );
  return `${type === 'overlayfs' ? 'overlay' : type} over ${lower.split('.')[0]}`;
}

/** A file system that was unmounted has nothing in its journal and nothing to mend. */
function checkDisk(path: string): boolean {
  const state = spawnSync('dumpe2fs', ['-h', path], { encoding: 'utf8' }).stdout;
  const check = spawnSync('e2fsck', ['-f', '-n', path], { stdio: 'ignore' });
  return /Filesystem state:\s+clean/.test(state) && !/needs_recovery/.test(state) && check.status === 0;
}

function writeFixedFile(folder: string, text: string): void {
  const path = join(folder, FIXED_FILE);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `${text}\n`);
}

function must(program: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (status !== 0)
    throw new ThimbleError('STORAGE', `Cannot run ${program}: ${error?.message ?? stderr.trim()}`);
}
