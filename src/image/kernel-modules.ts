/** Picks the kernel modules that a boot needs out of a tree, with those they depend on. */

import { ThimbleError } from '../core/errors.ts';

/**
 * Drivers for the disks and network cards of hypervisors and clouds, and the file systems of the boot. Those that are
 * built into the kernel, or not there, are passed over. Everything else reaches the machine from the tree.
 */
export const BOOT_MODULES: readonly string[] = [
  'overlay',
  // virtio: QEMU, KVM, most clouds
  'virtio_pci',
  'virtio_mmio',
  'virtio_blk',
  'virtio_scsi',
  'virtio_net',
  'virtio_rng',
  // disks
  'sd_mod',
  'ahci',
  'ata_piix',
  'nvme',
  'mptspi',
  'vmw_pvscsi',
  // Hyper-V and Azure, Xen, VMware, Amazon, Google
  'hv_storvsc',
  'hv_netvsc',
  'mana',
  'xen_blkfront',
  'xen_netfront',
  'vmxnet3',
  'ena',
  'gve',
  'ixgbevf',
  'iavf',
  // other network cards, where the kernel has them
  'e1000',
  'e1000e',
  '8139cp',
];

export interface ModuleSet {
  /** Paths below the module folder, as `modules.dep` has them, dependencies included; in order. */
  readonly paths: readonly string[];
  /** `modules.dep` and `modules.alias` for these alone, with uncompressed names. */
  readonly dependencies: string;
  readonly aliases: string;
}

/** `dep` and `alias` are the tree's `modules.dep` and `modules.alias`. */
export function selectModules(dep: string, alias: string, wanted: readonly string[]): ModuleSet {
  const needs = new Map<string, string[]>();
  const pathOfName = new Map<string, string>();
  for (const line of dep.split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const path = line.slice(0, colon);
    needs.set(
      path,
      line
        .slice(colon + 1)
        .split(' ')
        .filter((part) => part !== ''),
    );
    pathOfName.set(moduleName(path), path);
  }
  const chosen = new Set<string>();
  const add = (path: string) => {
    if (chosen.has(path)) return;
    chosen.add(path);
    for (const other of needs.get(path) ?? []) add(other);
  };
  for (const name of wanted) {
    const path = pathOfName.get(moduleName(name));
    if (path !== undefined) add(path);
  }
  const paths = [...chosen].sort();
  const names = new Set(paths.map(moduleName));
  return {
    paths,
    dependencies: paths
      .map((path) =>
        `${uncompressedName(path)}: ${(needs.get(path) ?? []).map(uncompressedName).join(' ')}`.trimEnd(),
      )
      .map((line) => `${line}\n`)
      .join(''),
    aliases: alias
      .split('\n')
      .filter((line) => names.has(moduleName(line.slice(line.lastIndexOf(' ') + 1))))
      .map((line) => `${line}\n`)
      .join(''),
  };
}

/** `kernel/drivers/net/virtio_net.ko.xz` is `kernel/drivers/net/virtio_net.ko` once it is unpacked. */
export function uncompressedName(path: string): string {
  return path.replace(/\.(xz|zst|gz)$/, '');
}

/** Names are the same with `-` and `_`. */
function moduleName(path: string): string {
  return path
    .replace(/^.*\//, '')
    .replace(/\.ko(\.(xz|zst|gz))?$/, '')
    .replaceAll('-', '_');
}

/** The version of the one kernel in `/boot`; the newest, where there are several. Throws NOT_FOUND. */
export function newestKernel(namesInBoot: readonly string[]): string {
  const versions = namesInBoot.flatMap((name) =>
    name.startsWith('vmlinuz-') ? [name.slice('vmlinuz-'.length)] : [],
  );
  versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const newest = versions.at(-1);
  if (newest !== undefined) return newest;
  throw new ThimbleError('NOT_FOUND', 'Cannot build image: there is no kernel in /boot of the snapshot', {
    hint: 'install a kernel package, such as linux-image-cloud-amd64, in the tree that is published',
  });
}
