import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{packages,examples,test,bench,scripts}/**/*.test.ts'],
    // Some tests run a compiler, a browser or the command line on a machine with few cores.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
