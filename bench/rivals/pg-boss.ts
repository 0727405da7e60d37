import { createRequire } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import PgBoss from 'pg-boss';
import { checkCount, chunks, rateSince, type OpenRival } from './rival.ts';

const SCHEMA = 'bench_pg_boss';
const QUEUE = 'jobs';
const INSERT_SIZE = 5_000;
/** A fetch sorts all jobs that wait: few large ones. */
const BATCH_SIZE = 2_000;
const WORKERS = 4;
const IDLE_MS = 5;

const { version } = createRequire(import.meta.url)('pg-boss/package.json');

/** Jobs in Postgres, without a batch: nothing knows when all of them have run. */
export const openPgBoss: OpenRival = async ({ databaseUrl, knex }) => {
  const dropSchema = () => knex.raw('drop schema if exists ?? cascade', [SCHEMA]);
  await dropSchema();
  const boss = new PgBoss({
    connectionString: databaseUrl,
    schema: SCHEMA,
    // Nothing here needs its maintenance, which would only take time.
    supervise: false,
    schedule: false,
  });
  const failure = new AbortController();
  boss.on('error', (error) => failure.abort(error));
  await boss.start();
  await boss.createQueue(QUEUE);
  return {
    name: 'pg-boss, without a batch',
    settings: { pgBoss: version, insertSize: INSERT_SIZE, batchSize: BATCH_SIZE, workers: WORKERS },

    async measure(jobs) {
      let ran = 0;
      // fetch() and complete() in a loop, since work() looks for jobs twice a second at most.
      const work = async (): Promise<void> => {
        while (ran < jobs) {
          failure.signal.throwIfAborted();
          const batch = await boss.fetch(QUEUE, { batchSize: BATCH_SIZE, priority: false });
          if (batch.length === 0) {
            await delay(IDLE_MS);
            continue;
          }
          await Promise.all(batch.map(noop));
          await boss.complete(
            QUEUE,
            batch.map(({ id }) => id),
          );
          ran += batch.length;
        }
      };
      const enqueue = async (): Promise<void> => {
        for (const { first, count } of chunks(jobs, INSERT_SIZE)) {
          await boss.insert(
            Array.from({ length: count }, (_, n) => ({ name: QUEUE, data: { index: first + n } })),
          );
        }
      };
      const startedAt = performance.now();
      await Promise.all([enqueue(), ...Array.from({ length: WORKERS }, work)]);
      const rate = rateSince(startedAt, jobs);
      checkCount(ran, jobs);
      checkCount(jobs - (await boss.getQueueSize(QUEUE, { before: 'completed' })), jobs);
      await boss.clearStorage();
      return rate;
    },

    async [Symbol.asyncDispose]() {
      await boss.stop({ wait: true });
      await dropSchema();
    },
  };
};

async function noop(_job: unknown): Promise<void> {}
