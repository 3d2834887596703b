/** `thimble publish` without a source: the open transaction becomes the next revision. */

import { ThimbleError } from '../core/errors.ts';
import { noteOf } from './commands/abort.ts';
import { describeResult, type PublishCommandOptions, withPublishProgress } from './commands/publish.ts';
import { openPublisher } from './publisher-ports.ts';
import { printResult } from './terminal.ts';
import { withTransaction } from './transactions.ts';
import { warnOfOwnExpiry } from './whitelist-warning.ts';

/** Throws USAGE; NOT_FOUND if none is open; CONFLICT if files are open for writing, or if somebody else has published. */
export async function publishTransaction(name: string, options: PublishCommandOptions): Promise<void> {
  if (options.into !== undefined || options.delete === false || options.platform !== undefined) {
    throw new ThimbleError('USAGE', 'Cannot publish: --into, --no-delete and --platform need a source', {
      hint: 'without a source, the open transaction is published, as it is',
    });
  }
  await withTransaction(name, options, async (transaction) => {
    const open = transaction.status();
    if (open?.phase !== 'open') {
      throw new ThimbleError(
        'NOT_FOUND',
        `Cannot publish ${name}: there is no source, and no transaction is open`,
        {
          hint: `name a folder or tar file, or open a transaction with: thimble transaction ${name}`,
        },
      );
    }
    const { users, ...result } = await withPublishProgress(`the transaction of ${name}`, options, (more) =>
      transaction.apply(
        ({ changes, ...expected }) =>
          openPublisher(name, options).publishChanges(changes, {
            ...more,
            ...expected,
            isExternal: options.external === true,
            isDirectIo: options.directIo === true,
          }),
        { force: options.force ?? false },
      ),
    );
    printResult(options, result, `${describeResult(name, result)}${noteOf({ users })}`);
    await warnOfOwnExpiry(name, options);
    if (options.keepOpen) await transaction.beginAt(open.mountpoint, open.layers);
  });
}
