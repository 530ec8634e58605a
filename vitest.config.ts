import { defineConfig } from 'vitest/config';

/**
 * One group after the other. Two files at a time, but for what loads both cores by itself: of that, one file after another. Files have a process
 * of their own but for those of unit tests, which would pay more for it than for all that they do.
 */
const shared = { pool: 'forks', hookTimeout: 30_000, teardownTimeout: 10_000 } as const;
const processes = { testTimeout: 120_000, hookTimeout: 120_000 };

/** They load the machine as far as it goes, compare what they measure, or let leases of a fifth of their length judge who lives. */
const BUSY = ['balancers', 'chaos', 'clocks', 'cost', 'deaths', 'demo', 'flood', 'hostile', 'legacy'].map((name) => `test/e2e/${name}.test.ts`);

export default defineConfig({
  test: {
    globalSetup: ['test/helpers/global-setup.ts'],
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          testTimeout: 20_000,
          maxWorkers: 2,
          isolate: false,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...shared,
          name: 'main',
          include: ['test/{integration,property}/**/*.test.ts'],
          testTimeout: 20_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...shared,
          ...processes,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: BUSY,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...shared,
          ...processes,
          name: 'busy',
          include: BUSY,
          maxWorkers: 1,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
