import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { checkCount, chunks, rateSince, type OpenRival } from './rival.ts';

const SCHEMA = 'bench_graphile_worker';
const INSERT_SIZE = 5_000;
/** As in "Quick stats" of https://worker.graphile.org/docs/performance. */
const TUNING = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
const CHECK_MS = 5;

const { version } = createRequire(import.meta.url)('graphile-worker/package.json');

/** Jobs in Postgres, without a batch: nothing knows when all of them have run. */
export const openGraphileWorker: OpenRival = async ({ databaseUrl, knex }) => {
  const dropSchema = () => knex.raw('drop schema if exists ?? cascade', [SCHEMA]);
  await dropSchema();
  // It logs a line a job.
  const logger = new Logger(() => () => {});
  const preset = { worker: { ...TUNING, connectionString: databaseUrl, schema: SCHEMA, logger } };
  const utils = await makeWorkerUtils({ preset });
  await utils.migrate();
  /** A job that has run is deleted. */
  const isAnyLeft = async (): Promise<boolean> =>
    (await knex.withSchema(SCHEMA).from('jobs').select('id').first()) !== undefined;
  return {
    name: 'graphile-worker, without a batch',
    settings: { graphileWorker: version, insertSize: INSERT_SIZE, ...TUNING },

    async measure(jobs) {
      let ran = 0;
      const noop = async (): Promise<void> => void ran++;
      const runner = await run({ preset, taskList: { noop }, parsedCronItems: [], noHandleSignals: true });
      try {
        const startedAt = performance.now();
        for (const { first, count } of chunks(jobs, INSERT_SIZE)) {
          await utils.addJobs(
            Array.from({ length: count }, (_, n) => ({ identifier: 'noop', payload: { index: first + n } })),
          );
        }
        while (await isAnyLeft()) await Promise.race([delay(CHECK_MS), runner.promise]);
        const rate = rateSince(startedAt, jobs);
        checkCount(ran, jobs);
        return rate;
      } finally {
        await runner.stop();
      }
    },

    async [Symbol.asyncDispose]() {
      await utils.release();
      await dropSchema();
    },
  };
};
