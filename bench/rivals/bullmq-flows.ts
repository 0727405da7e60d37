import { once } from 'node:events';
import { createRequire } from 'node:module';
import { FlowProducer, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { startRedis } from './redis.ts';
import { checkCount, rateSince, type OpenRival } from './rival.ts';

/** Jobs that do nothing wait for Redis alone: many at once. */
const CONCURRENCY = 200;
const JOBS = 'jobs';
const CALLBACKS = 'callbacks';

const { version } = createRequire(import.meta.url)('bullmq/package.json');

/** A flow: the jobs are children, and their parent, which runs after all of them, is the callback. */
export const openBullmqFlows: OpenRival = async () => {
  const redis = await startRedis();
  if (redis === undefined) return '`redis-server` is not on the PATH (Debian: apt-get install redis-server)';
  const { connection, server } = redis;
  const client = new Redis(connection);
  const [, redisVersion] = /redis_version:(\S+)/.exec(await client.info('server')) ?? [];
  return {
    name: 'BullMQ flow, on Redis',
    settings: { bullmq: version, redis: redisVersion, concurrency: CONCURRENCY, persistence: 'none' },

    async measure(jobs) {
      let ran = 0;
      const worker = new Worker(JOBS, async () => void ran++, { connection, concurrency: CONCURRENCY });
      const callbackWorker = new Worker(CALLBACKS, async () => {}, { connection });
      const flows = new FlowProducer({ connection });
      try {
        await Promise.all([worker, callbackWorker, flows].map((part) => part.waitUntilReady()));
        const failure = once(worker, 'error').then(([error]) => Promise.reject(error));
        const called = Promise.race([once(callbackWorker, 'completed'), failure]);
        const startedAt = performance.now();
        // One call: a parent's children are added in one transaction, so that it cannot run before all are there.
        await flows.add({
          name: 'done',
          queueName: CALLBACKS,
          children: Array.from({ length: jobs }, (_, index) => ({
            name: 'noop',
            queueName: JOBS,
            data: { index },
          })),
        });
        await called;
        const rate = rateSince(startedAt, jobs);
        checkCount(ran, jobs);
        return rate;
      } finally {
        await Promise.all([worker, callbackWorker, flows].map((part) => part.close()));
        await client.flushall();
      }
    },

    async [Symbol.asyncDispose]() {
      client.disconnect();
      await server.stop();
    },
  };
};
