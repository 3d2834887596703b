/** Which process holds a lock or uses a folder: a process id alone is reused. */

import { readFileSync } from 'node:fs';

/** Boot and start time of a process; `undefined` if there is no such process. */
export function identityOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 22 of proc(5); the second field may hold spaces and brackets.
    const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${startTicks}`;
  } catch {
    // No such process, or no /proc: then nobody is known to be alive.
    return undefined;
  }
}
