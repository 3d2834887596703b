/** Does something with each item, at most `limit` at a time. After a failure nothing is begun; it is thrown when all have ended. */
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  action: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = items.values();
  let isFailed = false;
  const lane = async () => {
    for (const item of queue) {
      if (isFailed) return;
      try {
        await action(item);
      } catch (error) {
        isFailed = true;
        throw error;
      }
    }
  };
  const lanes = Array.from({ length: Math.min(limit, items.length) }, lane);
  const results = await Promise.allSettled(lanes);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
