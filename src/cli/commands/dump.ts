import type { Command } from 'commander';
export function configure(c: Command): void {
  c.action(() => {});
}
