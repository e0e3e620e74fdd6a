import { defineConfig } from 'vitest/config';

// Tests start real daemons and use every core for training steps: two files side by side are enough, and each
// test has time for a busy machine. Nothing here asserts a duration.
export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
