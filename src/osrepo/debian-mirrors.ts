/** Which Debian mirror to use: the one that this machine's apt uses, for the suite that is wanted. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const DEFAULT_ARCHIVE = 'http://deb.debian.org/debian';

/** Lines for a sources.list of `suite`: the release, its updates, and its security fixes. */
export async function debianMirrors(suite: string): Promise<string[]> {
  const sites = await aptSites();
  const archive = sites.find((site) => /\/debian\/?$/.test(site)) ?? DEFAULT_ARCHIVE;
  const security =
    sites.find((site) => /\/debian-security\/?$/.test(site)) ??
    archive.replace(/\/debian\/?$/, '/debian-security');
  return [
    `deb ${archive} ${suite} main`,
    `deb ${archive} ${suite}-updates main`,
    `deb ${security} ${suite}-security main`,
  ];
}

/** Addresses of the archives that apt is configured for, most wanted first. */
async function aptSites(): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)('apt-get', [
      'indextargets',
      '--format',
      '$(SITE)',
      'Created-By: Packages',
    ]);
    return [...new Set(stdout.split('\n').filter((site) => /^https?:\/\//.test(site)))];
  } catch {
    // Not a Debian machine: then the default mirror it is.
    return [];
  }
}
