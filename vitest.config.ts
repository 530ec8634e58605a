import { defineConfig } from 'vitest/config';

/** Two groups: what shares a Redis and runs two files at a time, then whole processes, one file after another. */
const shared = { pool: 'forks', hookTimeout: 30_000, teardownTimeout: 10_000 } as const;

export default defineConfig({
  test: {
    globalSetup: ['test/helpers/global-setup.ts'],
    projects: [
      {
        test: {
          ...shared,
          name: 'main',
          include: ['test/{unit,integration,property}/**/*.test.ts'],
          testTimeout: 20_000,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...shared,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
