import { createNoopMeter, metrics, type Meter, type MeterProvider } from '@opentelemetry/api';

/** Instrumentation scope of all that the library emits. */
export const SCOPE = 'temporal-batch-jobs';

/** From a job of a millisecond to a batch of days. */
const SECONDS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1_800, 7_200, 43_200, 172_800];
const JOBS = [1, 10, 25, 100, 250, 500, 1_000, 2_000];

/** What {@link observeRunningJobs} is told of. */
interface RunningJobsSource {
  readonly taskQueue: string;
  readonly count: () => number;
}

export type Instruments = ReturnType<typeof createInstruments>;

const runningJobs = new Set<RunningJobsSource>();

let provider: MeterProvider | undefined;
let current: Instruments | undefined;

/**
 * The library's metrics, or undefined while the app has installed no SDK: then nothing is to be measured for them. Asked
 * again and again, since an SDK may be installed late and the API's meters do not notice; an answer allocates nothing.
 */
export function instruments(): Instruments | undefined {
  const installed = metrics.getMeterProvider();
  if (installed !== provider) {
    provider = installed;
    const meter = installed.getMeter(SCOPE);
    current = meter === createNoopMeter() ? undefined : createInstruments(meter);
  }
  return current;
}

/** Lets the metric of running jobs see a worker. @returns how to end that */
export function observeRunningJobs(source: RunningJobsSource): () => void {
  runningJobs.add(source);
  instruments();
  return () => runningJobs.delete(source);
}

/** docs/observability.md says of each of them what it counts, when, and with which attributes. */
function createInstruments(meter: Meter) {
  const counter = (name: string, unit: string, description: string) =>
    meter.createCounter(name, { unit: `{${unit}}`, description });
  const histogram = (name: string, unit: string, boundaries: number[], description: string) =>
    meter.createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: boundaries } });
  const seconds = (name: string, description: string) => histogram(name, 's', SECONDS, description);
  meter
    .createObservableUpDownCounter('batch_jobs.jobs.running', {
      unit: '{job}',
      description: 'Jobs that run in this process',
    })
    .addCallback((result) => {
      for (const [taskQueue, count] of runningByQueue()) result.observe(count, { task_queue: taskQueue });
    });
  return {
    batchesStarted: counter('batch_jobs.batches.started', 'batch', 'Batches created, and rounds opened'),
    batchesEnded: counter('batch_jobs.batches.ended', 'batch', 'Batches, and rounds, that have settled'),
    batchDuration: seconds('batch_jobs.batch.duration', 'From the creation of a batch until it settled'),
    blockDuration: seconds('batch_jobs.block.duration', 'Time that an enrolment block was open'),
    callbacksEnded: counter('batch_jobs.callbacks.ended', 'callback', 'Callbacks that have ended for good'),
    callbackDuration: seconds('batch_jobs.callback.duration', 'Time that an attempt of a callback took'),
    chunkDuration: seconds(
      'batch_jobs.chunk.duration',
      'Time that a chunk took, from its rows to its report',
    ),
    chunkJobs: histogram(
      'batch_jobs.chunk.jobs',
      '{job}',
      JOBS,
      'Jobs that ran in a chunk, and looks at workflows',
    ),
    chunkWait: seconds(
      'batch_jobs.chunk.wait',
      'From the scheduling of a chunk until its first job could start',
    ),
    jobsEnrolled: counter('batch_jobs.jobs.enrolled', 'job', 'Jobs whose rows this process has committed'),
    jobsEnded: counter('batch_jobs.jobs.ended', 'job', 'Jobs of batches that have ended for good'),
    jobsRetried: counter(
      'batch_jobs.jobs.retried',
      'job',
      'Attempts of jobs after which another one follows',
    ),
    jobDuration: seconds('batch_jobs.job.duration', 'Time that an attempt of a job took'),
    mirrorLag: seconds('batch_jobs.mirror.lag', 'From the end of a job until its row said so'),
  };
}

function runningByQueue(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { taskQueue, count } of runningJobs)
    counts.set(taskQueue, (counts.get(taskQueue) ?? 0) + count());
  return counts;
}
