import Table from 'cli-table3';
import { markComplete } from '../src/database/chunks.ts';
import { insertJobs } from '../src/database/enroll.ts';
import { openDatabase } from '../src/database/connect.ts';
import { defineCallback, defineJob } from '../src/index.ts';
import { inEnvironment, type Environment } from './environment.ts';
import { median } from './figures.ts';

const CHUNK = 1_000;
const noop = defineJob('Noop', async (_index: number) => {});
const done = defineCallback('Done', () => {});

/** A batch of no-op jobs from `create` to the end of its callback, against the bare writes of the same rows. */
export async function runThroughput({ jobs, runs }: { jobs: number; runs: number }): Promise<void> {
  await inEnvironment({ jobs: [noop], callbacks: [done] }, async (environment) => {
    const batchRates: number[] = [];
    const rawRates: number[] = [];
    await measureBatch(environment, 1_000);
    for (let run = 0; run < runs; run++) {
      rawRates.push(await measureRaw(environment, jobs, run));
      batchRates.push(await measureBatch(environment, jobs));
    }
    const table = new Table({ head: ['way', 'jobs/s, median', 'min', 'max'], style: { head: [] } });
    const row = (name: string, rates: readonly number[]) =>
      table.push([
        name,
        ...[median(rates), Math.min(...rates), Math.max(...rates)].map((rate) => Math.round(rate)),
      ]);
    row('bare insert and update of the rows', rawRates);
    row('batch, enrolment to callback', batchRates);
    console.log(table.toString());
    console.log(
      JSON.stringify({
        bench: 'throughput',
        jobs,
        runs,
        jobsPerSecond: Math.round(median(batchRates)),
        rawPerSecond: Math.round(median(rawRates)),
        shareOfRaw: Number((median(batchRates) / median(rawRates)).toFixed(3)),
        ...environment.machine,
      }),
    );
  });
}

async function measureBatch({ batches }: Environment, jobs: number): Promise<number> {
  const startedAt = performance.now();
  const batch = await batches.create({ description: `Benchmark of ${jobs} jobs` });
  await batch.on('complete', done);
  await batch.jobs(async () => {
    for (let index = 0; index < jobs; index++) await noop.performAsync(index);
  });
  const { complete } = await batch.wait();
  if (complete !== jobs) throw new Error(`${complete} of ${jobs} jobs are complete.`);
  return (jobs / (performance.now() - startedAt)) * 1_000;
}

/** The library's own statements and nothing else: what Postgres bounds. */
async function measureRaw({ knex, schema }: Environment, jobs: number, run: number): Promise<number> {
  const id = `raw-${run}`;
  const database = openDatabase(knex, { schema });
  await knex.withSchema(schema).insert({ id, first_execution_run_id: id, description: id }).into('batches');
  const startedAt = performance.now();
  for (let first = 1; first <= jobs; first += CHUNK) {
    const count = Math.min(CHUNK, jobs - first + 1);
    const rows = Array.from(
      { length: count },
      (_, n) => ['Noop', `[${first + n}]`, null, null, null] as const,
    );
    await insertJobs(database, id, first, rows);
  }
  for (let first = 1; first <= jobs; first += CHUNK) {
    const count = Math.min(CHUNK, jobs - first + 1);
    const now = Date.now();
    const rows = Array.from({ length: count }, (_, n) => ({
      position: first + n,
      startedAt: now,
      finishedAt: now,
    }));
    await markComplete(database, id, rows);
  }
  const rate = (jobs / (performance.now() - startedAt)) * 1_000;
  await knex.withSchema(schema).from('batches').where({ id }).delete();
  return rate;
}
