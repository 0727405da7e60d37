import { setTimeout as delay } from 'node:timers/promises';
import { currentJob, defineCallback, defineJob } from '../src/index.ts';

export const noop = defineJob('Noop', async (_index: number) => {});

export const pause = defineJob('Pause', async (ms: number) => {
  await delay(ms, undefined, { signal: currentJob().signal });
});

export const done = defineCallback('Done', () => {});
