import { defineConfig } from 'vitest/config';

/** `unit` needs nothing; `lab` brings the real lab up, so its files run one after another and alone on the machine. */
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['src/**/*.test.ts'], exclude: ['src/**/*.lab.test.ts'], testTimeout: 60_000 } },
      {
        test: {
          name: 'lab',
          include: ['src/**/*.lab.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 120_000,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
