/** What lasts for all tests of a file: `after` of a hook would end with the hook. */

import { after, type TestContext } from 'node:test';

type CleanUp = () => unknown;

/** To be called at the top of a test file; what is registered runs after its last test, the latest first. */
export function fileScope(): Pick<TestContext, 'after'> {
  const steps: CleanUp[] = [];
  after(async () => {
    for (const step of steps.reverse()) await step();
  });
  return { after: (step) => void steps.push(step as CleanUp) };
}
