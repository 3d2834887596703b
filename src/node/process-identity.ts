/** Which process holds a lock or uses a folder: a process id alone is reused. */

import { readFileSync } from 'node:fs';

/** Boot and start time of a process; `undefined` if there is no such process. */
export function identityOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // From field 3 of proc(5) on; the second field may hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTicks] = [fields[0], fields[19]];
    // It has ended, and nobody has asked how.
    if (state === 'Z') return undefined;
    return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${startTicks}`;
  } catch {
    // No such process, or no /proc: then nobody is known to be alive.
    return undefined;
  }
}
