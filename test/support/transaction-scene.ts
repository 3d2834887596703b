/** A repository with an open transaction, for tests of what transactions publish. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PublishResult } from '../../src/publish/publisher.ts';
import { CliRepository } from './cli-repository.ts';
import { memoryScratch } from './scratch.ts';
import { type Outcome, thimble } from './thimble.ts';
import { type Literal, makeTree, readTree, type SeenEntry } from './trees.ts';

export interface TransactionScene {
  readonly repository: CliRepository;
  readonly scratch: string;
  /** The tree that was published first. */
  readonly source: string;
  /** Where the transaction shows the tree. */
  readonly folder: string;
  begin(options?: readonly string[]): Promise<void>;
  publish(options?: readonly string[]): Promise<PublishResult>;
  /** A command that may fail. */
  run(...args: readonly string[]): Promise<Outcome>;
  /** What clients see now. */
  readPublished(): Promise<Map<string, SeenEntry>>;
}

/** Publishes `tree`, and opens no transaction yet. */
export async function transactionScene(
  t: Parameters<typeof memoryScratch>[0],
  tree: Literal,
): Promise<TransactionScene> {
  const scratch = memoryScratch(t);
  const [source, folder, mountpoint] = ['source', 'tree', 'client'].map((name) => join(scratch, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(mountpoint);
  makeTree(source, tree);
  const repository = await CliRepository.create(scratch);
  await repository.publish(source);
  const { FQRN } = CliRepository;
  const config = ['--config', join(scratch, 'config')];
  return {
    repository,
    scratch,
    source,
    folder,
    begin: async (options = []) => {
      await repository.json(['transaction', FQRN, '--at', folder, '--cache', repository.cache, ...options]);
    },
    publish: (options = []) => repository.json<PublishResult>(['publish', FQRN, ...options]),
    run: (...args) => thimble([...config, ...args]),
    readPublished: async () => {
      // As published: no value for this one.
      await repository.mount(mountpoint, ['--variable', 'VARIABLE=$(VARIABLE)']);
      try {
        return readTree(mountpoint);
      } finally {
        await repository.unmount(mountpoint);
      }
    },
  };
}
