import { inEnvironment, type Environment } from './environment.ts';
import { median, rounded } from './figures.ts';
import { largestHistories } from './histories.ts';
import { done } from './jobs.ts';
import { pickServers, startProcess, withWorkflowBundle } from './processes.ts';
import { report, type BenchOptions } from './report.ts';

const READS = 50;

/** One batch of each size, its worker and its enqueuer in processes of their own. */
export async function runScale(options: { sizes: readonly number[] } & BenchOptions): Promise<void> {
  await inEnvironment({ server: options.server }, (environment) =>
    withWorkflowBundle(async (workflowBundlePath) => {
      const measured = [];
      // Warm: what the first batch alone pays for is in no figure.
      for (const jobs of [1_000, ...options.sizes]) {
        measured.push(await measure(environment, jobs, workflowBundlePath));
      }
      const figures = measured.slice(1);
      const head = [
        'jobs',
        'jobs/s',
        'worker, MB',
        'enqueuer, MB',
        'largest history, events',
        'KB',
        'continued as new',
        'rows, MB',
        'progress, ms',
      ];
      const rows = figures.map((figure) => [
        figure.jobs,
        Math.round(figure.jobsPerSecond),
        figure.workerMb,
        figure.enqueuerMb,
        figure.events,
        Math.round(figure.bytes / 1_000),
        figure.continuedAsNew,
        rounded(figure.rowsMb),
        rounded(figure.progressMs),
      ]);
      report(options, head, rows, { bench: 'scale', sizes: figures, ...environment.machine });
    }),
  );
}

async function measure(environment: Environment, jobs: number, workflowBundlePath: string) {
  const { batches, client, knex, schema } = environment;
  const servers = pickServers(environment);
  const worker = await startProcess('./worker-process.js', { ...servers, workflowBundlePath });
  const batch = await batches.create({ description: `Benchmark of ${jobs} jobs` });
  await batch.on('complete', done);
  const enqueuer = await startProcess('./enqueuer-process.js', { ...servers, batchId: batch.id, jobs });
  const readyAt = performance.now();
  const { complete } = await batch.wait();
  const seconds = (performance.now() - readyAt) / 1_000;
  if (complete !== jobs) throw new Error(`${complete} of ${jobs} jobs are complete.`);
  const enqueuerMb = await enqueuer.peakMemoryMb;
  const reads: number[] = [];
  for (let n = 0; n < READS; n++) {
    const readAt = performance.now();
    await batch.progress();
    reads.push(performance.now() - readAt);
  }
  const { rows } = await knex.raw('select pg_total_relation_size(?::regclass) as bytes', [
    `${schema}.batch_jobs`,
  ]);
  const histories = await largestHistories(client, batch.id);
  const workerMb = await worker.stop();
  const result = {
    jobs,
    jobsPerSecond: jobs / seconds,
    workerMb,
    enqueuerMb,
    ...histories,
    rowsMb: Number(rows[0].bytes) / 1e6,
    progressMs: median(reads),
  };
  await knex.raw('truncate table ??, ?? cascade', [`${schema}.batches`, `${schema}.batch_jobs`]);
  return result;
}
