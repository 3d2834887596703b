/**
 * The boot of a machine, from a running kernel to a root file system that init can be started in. Runs in a chroot of the
 * initrd; docs/architecture.md#boot has the picture. Every step says what it does, and fails with what to do about it.
 */

import { messageOf, ThimbleError } from '../core/errors.ts';
import { formatNetworkUnit, formatResolvConf, type Lease, parseLease } from './network.ts';
import { type BlockDevice, chooseScratch, PROBE_BYTES, SCRATCH_LABEL } from './scratch-disk.ts';
import { type GuestSettings, mergeSettings, parseImageSettings, parseOemStrings } from './settings.ts';
import type { GuestSystem } from './system.ts';

/** Paths inside the chroot; the last two become `/run/initramfs/...` of the machine. */
export const PATHS = {
  imageSettings: '/etc/thimble.json',
  keys: '/etc/keys',
  leases: '/var/leases',
  /** Files for `/run` of the machine. */
  handover: '/handover',
  newRoot: '/newroot',
  lower: '/ro',
  scratch: '/rw',
} as const;

const NETWORK_TIMEOUT_MS = 60_000;
const LINK_POLL_MS = 50;
const BUSYBOX = '/bin/busybox';
const MIB = 1024 * 1024;

export interface Scratch {
  /** Where the object cache may live. */
  readonly cacheFolder: string;
  readonly cacheLimitBytes: number;
  readonly onDisk: boolean;
}

/** What the file system needs; `mountRoot` is handed in by whoever wires the client. */
export interface RootRequest {
  readonly settings: GuestSettings;
  readonly scratch: Scratch;
  readonly keyFiles: readonly string[];
  readonly mountpoint: string;
}

export interface RootMount {
  /** Names the snapshot; writable layers belong to one. */
  readonly rootHash: string;
  readonly description: string;
}

export class Boot {
  readonly #system: GuestSystem;
  readonly #startedMs: number;

  constructor(system: GuestSystem) {
    this.#system = system;
    this.#startedMs = system.monotonicMs();
  }

  /** Reads the settings of image, machine and command line. Throws USAGE, FORMAT. */
  settings(): GuestSettings {
    const system = this.#system;
    const text = system.readText(PATHS.imageSettings);
    if (text === undefined)
      throw new ThimbleError('FORMAT', `Cannot boot: the image has no ${PATHS.imageSettings}`);
    const entries = '/sys/firmware/dmi/entries';
    const machine = system
      .list(entries)
      .filter((name) => name.startsWith('11-'))
      .flatMap((name) => parseOemStrings(latin1(system.readStart(`${entries}/${name}/raw`, 64 * 1024))));
    return mergeSettings(parseImageSettings(text), machine, system.readText('/proc/cmdline') ?? '');
  }

  /** Loads the drivers for the devices that are there, and those of the file systems. */
  loadModules(): void {
    this.#must('load kernel modules', BUSYBOX, ['sh', '/bin/load-modules']);
  }

  /** Configures the first network interface that gets an address. Throws NETWORK. */
  async network(): Promise<Lease> {
    const system = this.#system;
    const deadline = system.monotonicMs() + NETWORK_TIMEOUT_MS;
    let interfaces = this.#interfaces();
    while (interfaces.length === 0 && system.monotonicMs() < deadline) {
      await system.sleep(LINK_POLL_MS);
      interfaces = this.#interfaces();
    }
    if (interfaces.length === 0) {
      throw new ThimbleError(
        'NETWORK',
        'Cannot boot: this machine has no network card that the image has a driver for',
        {
          hint: 'use a virtio, e1000e, ena, gve, Hyper-V or VMware card',
        },
      );
    }
    system.makeDirectory(PATHS.leases);
    const attempts = interfaces.map((name) => this.#dhcp(name, deadline));
    const lease = await firstOf(attempts);
    if (lease === undefined) {
      throw new ThimbleError('NETWORK', `Cannot boot: no DHCP server answers on ${interfaces.join(', ')}`, {
        hint: 'check the network that the machine is attached to',
      });
    }
    system.writeText('/etc/resolv.conf', formatResolvConf(lease));
    this.#say(`network ${lease.interface} ${lease.address}`);
    return lease;
  }

  /** Finds, checks or makes the scratch disk, or takes memory. Throws STORAGE, USAGE. */
  prepareScratch(settings: GuestSettings): Scratch {
    const system = this.#system;
    const devices = settings.withoutDisk ? [] : this.#blockDevices();
    const choice = chooseScratch(devices, settings.withoutDisk ? undefined : settings.formatDevice);
    if (choice.kind === 'none') {
      this.#must('mount memory', BUSYBOX, [
        'mount',
        '-t',
        'tmpfs',
        '-o',
        'mode=0755,size=50%',
        'scratch',
        PATHS.scratch,
      ]);
      const cacheLimitBytes = Math.floor(this.#memoryBytes() / 8);
      this.#say(`no scratch disk: changes live in memory and are gone with the machine`);
      return { cacheFolder: `${PATHS.scratch}/cache`, cacheLimitBytes, onDisk: false };
    }
    const path = `/dev/${choice.name}`;
    if (choice.kind === 'format') {
      this.#say(
        `formatting ${path} (${choice.why === 'marker' ? 'it is marked as blank' : 'named by thimble.format'})`,
      );
      this.#must(`format ${path}`, '/bin/mke2fs', ['-q', '-F', '-t', 'ext4', '-L', SCRATCH_LABEL, path]);
    } else {
      // Replays nothing: the kernel does; mends what a crash left behind. 1 means mended.
      const check = system.run('/bin/e2fsck', ['-p', path]);
      if (check.status > 1) {
        throw new ThimbleError('STORAGE', `Cannot use scratch disk ${path}: ${check.output}`, {
          hint: 'boot with thimble.nodisk to start without it, and repair it from there',
        });
      }
    }
    this.#must(`mount ${path}`, BUSYBOX, ['mount', '-t', 'ext4', '-o', 'noatime', path, PATHS.scratch]);
    const free = this.#freeBytes(PATHS.scratch);
    this.#say(`scratch disk ${path}`);
    return { cacheFolder: `${PATHS.scratch}/cache`, cacheLimitBytes: Math.floor(free / 2), onDisk: true };
  }

  /** Mounts the tree and a writable layer over it. Throws what `mount` throws, and STORAGE. */
  async mountRoot(
    settings: GuestSettings,
    scratch: Scratch,
    mount: (request: RootRequest) => Promise<RootMount>,
  ): Promise<RootMount> {
    const system = this.#system;
    const keyFiles = system.list(PATHS.keys).map((name) => `${PATHS.keys}/${name}`);
    const root = await mount({ settings, scratch, keyFiles, mountpoint: PATHS.lower });
    // A writable layer belongs to the snapshot that it was begun on.
    const layer = `${PATHS.scratch}/layers/${root.rootHash}`;
    system.makeDirectory(`${layer}/upper`);
    system.makeDirectory(`${layer}/work`);
    const options = [
      `lowerdir=${PATHS.lower}`,
      `upperdir=${layer}/upper`,
      `workdir=${layer}/work`,
      // The lower layer changes when the machine moves to another snapshot; these would remember the old one.
      'index=off',
      'metacopy=off',
      'redirect_dir=off',
    ].join(',');
    this.#must('mount the writable layer', BUSYBOX, [
      'mount',
      '-t',
      'overlay',
      '-o',
      options,
      'root',
      PATHS.newRoot,
    ]);
    this.#say(`root file system ${root.description}`);
    return root;
  }

  /**
   * Leaves for the operating system what it has to know, outside of its tree: looking into it from here would wait for this
   * very process to serve it. The first program does that.
   */
  handOver(lease: Lease): void {
    const system = this.#system;
    const mac = system.readText(`/sys/class/net/${lease.interface}/address`)?.trim();
    if (mac !== undefined && /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) {
      const folder = `${PATHS.handover}/systemd/network`;
      system.makeDirectory(folder);
      system.writeText(`${folder}/10-thimble-boot.network`, formatNetworkUnit(mac));
    }
  }

  #say(line: string): void {
    const seconds = ((this.#system.monotonicMs() - this.#startedMs) / 1000).toFixed(1);
    this.#system.say(`thimble: ${line} (${seconds} s)`);
  }

  #must(what: string, program: string, args: readonly string[]): void {
    const { status, output } = this.#system.run(program, args);
    if (status === 0) return;
    throw new ThimbleError(
      'STORAGE',
      `Cannot ${what}: ${program} ${args.join(' ')} ended with status ${status}: ${output.trim()}`,
    );
  }

  #interfaces(): string[] {
    const system = this.#system;
    // Type 1 is Ethernet (ARPHRD_ETHER); those with a `device` are no bridges or tunnels.
    return system
      .list('/sys/class/net')
      .filter((name) => system.readText(`/sys/class/net/${name}/type`)?.trim() === '1')
      .filter((name) => system.exists(`/sys/class/net/${name}/device`))
      .sort();
  }

  async #dhcp(name: string, deadline: number): Promise<Lease | undefined> {
    const system = this.#system;
    const file = `${PATHS.leases}/${name}`;
    while (system.monotonicMs() < deadline) {
      // One try of a second each, so that nothing waits for long once a server is there.
      const args = [
        'udhcpc',
        '-i',
        name,
        '-s',
        '/bin/dhcp-script',
        '-q',
        '-n',
        '-f',
        '-t',
        '3',
        '-T',
        '1',
        '-A',
        '0',
      ];
      const { status } = await system.start(BUSYBOX, args);
      const lease = status === 0 ? parseLease(system.readText(file) ?? '') : undefined;
      if (lease !== undefined) return lease;
    }
    return undefined;
  }

  #blockDevices(): BlockDevice[] {
    const system = this.#system;
    return system
      .list('/sys/class/block')
      .filter((name) => !/^(ram|loop|zram|sr|fd)\d/.test(name))
      .map((name) => ({
        name,
        readOnly: system.readText(`/sys/class/block/${name}/ro`)?.trim() !== '0',
        start: system.readStart(`/dev/${name}`, PROBE_BYTES),
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #memoryBytes(): number {
    const kilobytes = /^MemTotal:\s+(\d+) kB/m.exec(this.#system.readText('/proc/meminfo') ?? '')?.[1];
    return Number(kilobytes ?? 0) * 1024;
  }

  #freeBytes(path: string): number {
    const { output } = this.#system.run(BUSYBOX, ['stat', '-f', '-c', '%a %S', path]);
    const [blocks = 0, blockBytes = 0] = output.trim().split(' ').map(Number);
    return Math.max(blocks * blockBytes, 64 * MIB);
  }
}

/** The first answer that is one; `undefined` when all have given up. */
function firstOf<T>(attempts: readonly Promise<T | undefined>[]): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    let left = attempts.length;
    for (const attempt of attempts) {
      attempt.then((answer) => {
        left--;
        if (answer !== undefined || left === 0) resolve(answer);
      }, reject);
    }
  });
}

function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
}

/** What went wrong and what to do, for the console. */
export function explainFailure(error: unknown): string[] {
  const hint = error instanceof ThimbleError ? error.hint : undefined;
  return [`thimble: ${messageOf(error)}`, ...(hint === undefined ? [] : [`hint: ${hint}`])];
}
