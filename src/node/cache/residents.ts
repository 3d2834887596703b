/**
 * The processes that use a cache folder: each has a file in `running` with boot id and start time, and removes it when it ends
 * in order. `boot` holds the id of the boot in which the folder was used last.
 */

import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { threadId } from 'node:worker_threads';
import { identityOf } from '../process-identity.ts';
import { readIfThere } from './journal.ts';

let opened = 0;

/** Names of files that an open cache makes start with this; no other one of this machine has the same. */
export function nextResident(): string {
  return `${process.pid}.${threadId}.${++opened}`;
}

/** Removes marks and temporary files of those that are gone. Answers whether all of them had said goodbye. */
export function clearUpAfterTheDead(folder: string): boolean {
  const running = `${folder}/running`;
  // Temporary files first: whoever made one had a mark before it.
  const temporary = readdirSync(`${folder}/tmp`);
  const residents = readdirSync(running);
  const dead = residents.filter((name) => !isAlive(`${running}/${name}`, pidOf(name)));
  const living = new Set(residents.filter((name) => !dead.includes(name)));
  for (const name of temporary) {
    const owner = name.slice(0, name.indexOf('-'));
    if (living.has(owner)) continue;
    // Some may be folders with very many files: nobody waits for that.
    rm(`${folder}/tmp/${name}`, { recursive: true, force: true }).catch(() => {
      // The next one that opens the folder tries again.
    });
  }
  for (const name of namesIn(`${folder}/pins`)) {
    if (/^\d/.test(name) && !living.has(name)) rmSync(`${folder}/pins/${name}`, { force: true });
  }
  return dead.length === 0;
}

/** After everything else: who is interrupted in between leaves the work to the next one. */
export function forgetTheDead(folder: string): void {
  const running = `${folder}/running`;
  for (const name of readdirSync(running)) {
    if (!isAlive(`${running}/${name}`, pidOf(name))) rmSync(`${running}/${name}`, { force: true });
  }
}

export function enter(folder: string, resident: string): void {
  // In one step: a mark without content would look like that of a dead process.
  replace(folder, resident, `running/${resident}`, identityOf(process.pid) ?? '');
}

export function leave(folder: string, resident: string): void {
  rmSync(`${folder}/running/${resident}`, { force: true });
}

/** Those that a process has left are no longer in use, those of living ones are. */
export function isResident(folder: string, resident: string): boolean {
  const path = `${folder}/running/${resident}`;
  return readIfThere(path) !== '' && isAlive(path, pidOf(resident));
}

export function countResidents(folder: string): number {
  return readdirSync(`${folder}/running`).length;
}

/** Whether the machine runs without interruption since the folder was used last; a folder that is new says so too. */
export function isSameBoot(folder: string): boolean {
  const last = readIfThere(`${folder}/boot`);
  return last === '' || last === bootId();
}

export function rememberBoot(folder: string, resident: string): void {
  replace(folder, resident, 'boot', bootId());
}

function bootId(): string {
  return identityOf(process.pid)?.split(' ')[0] ?? 'unknown';
}

function replace(folder: string, resident: string, name: string, text: string): void {
  const temporary = `${folder}/tmp/${resident}-mark`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, `${folder}/${name}`);
}

function isAlive(mark: string, pid: number): boolean {
  try {
    return readFileSync(mark, 'latin1') === identityOf(pid);
  } catch (error) {
    // It has said goodbye meanwhile, or another process has cleared up after it.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true;
    throw error;
  }
}

function pidOf(resident: string): number {
  return Number(resident.split('.')[0]);
}

/** The names in a folder; none if it is not there. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
