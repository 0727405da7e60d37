import { openActivityPerJob } from './temporal-alone.ts';
import { openBullmqFlows } from './bullmq-flows.ts';
import { openGraphileWorker } from './graphile-worker.ts';
import { openPgBoss } from './pg-boss.ts';
import type { OpenRival } from './rival.ts';

/** By the names that `--without` and the line of JSON have for them. */
export const RIVALS: Readonly<Record<string, OpenRival>> = {
  activityPerJob: openActivityPerJob,
  bullmqFlows: openBullmqFlows,
  graphileWorker: openGraphileWorker,
  pgBoss: openPgBoss,
};
