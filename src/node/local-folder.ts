import type { RepositoryAddress } from './repository-access.ts';

/** The folder of this machine that alone has the repository; `undefined` if anything else is asked too, or instead. */
export function localFolder({ servers }: Pick<RepositoryAddress, 'servers'>): string | undefined {
  const [first] = servers;
  if (servers.length !== 1 || first === undefined || /^https?:\/\//.test(first)) return undefined;
  return first.replace(/^file:\/\//, '');
}
