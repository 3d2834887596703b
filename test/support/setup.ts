/** Loaded before every test file: a test that prints to the console fails. */

for (const method of ['log', 'info', 'warn', 'error', 'debug', 'trace'] as const) {
  console[method] = (...args: unknown[]) => {
    throw new Error(`A test printed to the console: console.${method}(${args.map(String).join(', ')})`);
  };
}
