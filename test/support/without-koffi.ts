/** Loaded with `--import`: a machine that koffi was not made for. */

import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier === 'koffi') throw new Error('no koffi for this machine');
    return nextResolve(specifier, context);
  },
});
