import { inEnvironment, type Environment } from './environment.ts';
import { median, rounded } from './figures.ts';
import { done, noop } from './jobs.ts';
import { openRawCopy, rawStatements } from './raw-rows.ts';
import { report, type BenchOptions } from './report.ts';
import { RIVALS } from './rivals/index.ts';
import type { Rival, Way } from './rivals/rival.ts';
import { runNoops } from './run-batch.ts';

/** Before it counts, each way runs so often: a service is up for longer than its compiler needs. */
const WARM_UPS = 3;
const WARM_UP_JOBS = 10_000;

export interface ThroughputOptions extends BenchOptions {
  readonly jobs: number;
  readonly runs: number;
  /** Names of rivals that are left out. */
  readonly without?: readonly string[];
}

/** A batch of no-op jobs from `create` to the end of its callback, against the bare writes of its rows and against rivals. */
export async function runThroughput(options: ThroughputOptions): Promise<void> {
  await inEnvironment({ jobs: [noop], callbacks: [done], server: options.server }, async (environment) => {
    const opened: Rival[] = [];
    try {
      const copy = await openRawCopy(environment);
      opened.push(copy);
      const ways = new Map<string, Way>([
        ['batch', ourBatch(environment)],
        ['rawStatements', rawStatements(environment)],
        ['rawCopy', copy],
      ]);
      const skipped: Record<string, string> = {};
      for (const [key, open] of Object.entries(RIVALS)) {
        if (options.without?.includes(key)) continue;
        const rival = await open(environment);
        if (typeof rival === 'string') {
          skipped[key] = rival;
          continue;
        }
        opened.push(rival);
        ways.set(key, rival);
      }
      const rates = await measureInRounds(ways, options);
      tell(options, ways, rates, skipped, environment.machine);
    } finally {
      for (const rival of opened.toReversed()) await rival[Symbol.asyncDispose]();
    }
  });
}

function ourBatch(environment: Environment): Way {
  return {
    name: 'batch, enrolment to callback',
    settings: {},
    measure: async (jobs) => (jobs / (await runNoops(environment, jobs))) * 1_000,
  };
}

/** Each round measures each way once, and begins with another one: none profits always from what ran before it. */
async function measureInRounds(
  ways: ReadonlyMap<string, Way>,
  { jobs, runs }: ThroughputOptions,
): Promise<Map<string, number[]>> {
  const entries = [...ways];
  const rates = new Map<string, number[]>(entries.map(([key]) => [key, []]));
  for (const [, way] of entries) {
    for (let run = 0; run < WARM_UPS; run++) await way.measure(jobsOf(way, Math.min(jobs, WARM_UP_JOBS)));
  }
  for (let run = 0; run < runs; run++) {
    const first = run % entries.length;
    for (const [key, way] of [...entries.slice(first), ...entries.slice(0, first)]) {
      rates.get(key)!.push(await way.measure(jobsOf(way, jobs)));
    }
  }
  return rates;
}

function jobsOf({ maxJobs = Infinity }: Way, jobs: number): number {
  return Math.min(jobs, maxJobs);
}

function tell(
  options: ThroughputOptions,
  ways: ReadonlyMap<string, Way>,
  rates: ReadonlyMap<string, number[]>,
  skipped: Readonly<Record<string, string>>,
  machine: Environment['machine'],
): void {
  const { jobs, runs } = options;
  const medianOf = (key: string) => median(rates.get(key)!);
  const ours = medianOf('batch');
  const rows: (string | number)[][] = [];
  const figures: Record<string, unknown> = {};
  const ratios: Record<string, number> = { raw: 0 };
  for (const [key, way] of ways) {
    const measured = rates.get(key)!;
    const count = jobsOf(way, jobs);
    const figure = {
      median: Math.round(median(measured)),
      min: Math.round(Math.min(...measured)),
      max: Math.round(Math.max(...measured)),
    };
    const ratio = rounded(ours / median(measured));
    if (key !== 'batch') ratios[key] = ratio;
    figures[key] = { jobs: count, ...figure, rates: measured.map(Math.round), settings: way.settings };
    const name = count < jobs ? `${way.name} (${count} jobs)` : way.name;
    rows.push([name, figure.median, figure.min, figure.max, key === 'batch' ? '' : ratio]);
  }
  for (const [key, reason] of Object.entries(skipped)) rows.push([key, `skipped: ${reason}`, '', '', '']);
  // The bound: the faster way to write the rows.
  const raw = Math.max(medianOf('rawStatements'), medianOf('rawCopy'));
  ratios['raw'] = rounded(ours / raw);
  report(options, ['way', 'jobs/s, median', 'min', 'max', 'ours is x times'], rows, {
    bench: 'throughput',
    jobs,
    runs,
    jobsPerSecond: Math.round(ours),
    rawPerSecond: Math.round(raw),
    ratios,
    ways: figures,
    skipped,
    ...machine,
  });
}
