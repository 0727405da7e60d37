import { defineCallback, defineJob } from '../src/index.ts';
import { inEnvironment, type Environment } from './environment.ts';
import { quantile, rounded } from './figures.ts';
import { report, type BenchOptions } from './report.ts';

const WARM_UP = 20;

let lastJobEnd = 0;
let onCallback: (at: number) => void = () => {};

const tick = defineJob('Tick', (_index: number) => {
  lastJobEnd = performance.now();
});
const called = defineCallback('Called', () => onCallback(performance.now()));

/** How the batch gets its callback: with its creation, or after it, by a round trip more. */
type Registration = 'create' | 'on';

interface Sample {
  readonly create: number;
  readonly register: number;
  readonly enrol: number;
  /** From `create` to the first line of the callback. */
  readonly total: number;
  /** From the last job's end to there. */
  readonly callback: number;
}

/** How long small batches take, in ms: the whole way, and its parts. */
export async function runLatency(
  options: {
    sizes: readonly number[];
    batches: number;
  } & BenchOptions,
): Promise<void> {
  await inEnvironment({ jobs: [tick], callbacks: [called], server: options.server }, async (environment) => {
    const rows: (string | number)[][] = [];
    const figures: Record<string, unknown> = {};
    for (const size of options.sizes) {
      const samples: Record<Registration, Sample[]> = { create: [], on: [] };
      // In turn: whatever else the machine does meanwhile, it does to both.
      for (let n = 0; n < WARM_UP + options.batches; n++) {
        for (const registration of ['create', 'on'] as const) {
          const sample = await measure(environment, size, registration);
          if (n >= WARM_UP) samples[registration].push(sample);
        }
      }
      const of = (part: keyof Sample, registration: Registration = 'create') => {
        const values = samples[registration].map((sample) => sample[part]);
        return { p50: at(values, 0.5), p95: at(values, 0.95), p99: at(values, 0.99) };
      };
      const parts = {
        total: of('total'),
        totalWithOn: of('total', 'on'),
        callback: of('callback'),
        create: of('create'),
        register: of('register', 'on'),
        enrol: of('enrol'),
      };
      figures[`jobs${size}`] = parts;
      const named = {
        'create to callback': parts.total,
        'the same with on()': parts.totalWithOn,
        'last job to callback': parts.callback,
        'create()': parts.create,
        'on()': parts.register,
        'jobs()': parts.enrol,
      };
      for (const [name, { p50, p95, p99 }] of Object.entries(named)) rows.push([size, name, p50, p95, p99]);
    }
    report(options, ['jobs', 'ms', 'p50', 'p95', 'p99'], rows, {
      bench: 'latency',
      batches: options.batches,
      ...figures,
      ...environment.machine,
    });
  });
}

function at(values: readonly number[], share: number): number {
  return rounded(quantile(values, share));
}

async function measure({ batches }: Environment, size: number, registration: Registration): Promise<Sample> {
  const calledAt = new Promise<number>((resolve) => (onCallback = resolve));
  const start = performance.now();
  const callbacks = registration === 'create' ? { complete: called } : {};
  const batch = await batches.create({ description: 'Latency', callbacks });
  const created = performance.now();
  if (registration === 'on') await batch.on('complete', called);
  const registered = performance.now();
  await batch.jobs(async () => {
    for (let index = 0; index < size; index++) await tick.performAsync(index);
  });
  const enrolled = performance.now();
  const end = await calledAt;
  await batch.wait();
  return {
    create: created - start,
    register: registered - created,
    enrol: enrolled - registered,
    total: end - start,
    callback: end - lastJobEnd,
  };
}
