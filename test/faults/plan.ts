import { randomFrom, type Random } from '../support/random.ts';
import {
  describeBatch,
  planBatch,
  planNewLimits,
  planShared,
  type BatchPlan,
  type JobLimitPlan,
} from './plan-batch.ts';
import { planChanges, planDeadline, type PolicyPlan } from './plan-policy.ts';

/** All that happens in one round, from one number. */
export interface RoundPlan {
  readonly seed: number;
  readonly batches: readonly BatchPlan[];
  readonly workers: readonly WorkerPlan[];
  readonly conditions: ConditionsPlan;
  readonly faults: readonly PlannedFault[];
}

/** The environment of a whole round. */
export interface ConditionsPlan {
  /** Timeouts of each session of workers and enqueuers, as a role may have them; null: none. */
  readonly timeouts: { readonly statementMs: number; readonly lockMs: number } | null;
  /** Whether clients and workers have a payload codec. */
  readonly hasCodec: boolean;
  /** Whether a worker of another schema polls the same task queues. */
  readonly hasForeignWorker: boolean;
  /** Jobs have arguments of so many bytes, and workers a heap of so many MiB; null: small ones, and the usual heap. */
  readonly memory: { readonly argsBytes: number; readonly heapMiB: number } | null;
}

export interface WorkerPlan {
  readonly maxConcurrentJobs: number;
  /** Time until a process manager starts it again. */
  readonly restartMs: number;
  /** Whether it has the plugin: then the app's workflows that end in it say so. */
  readonly reports: boolean;
}

/** When a fault happens: so long after the start, or once so much is done. */
export type Trigger =
  | { readonly afterMs: number }
  /** Executions of jobs that began, in the whole round. */
  | { readonly jobsStarted: number }
  /** Jobs of a batch that its block has enrolled. */
  | { readonly batch: number; readonly enrolled: number }
  /** Workflows of a batch that its block is about to start, or has started. */
  | { readonly batch: number; readonly starting: number }
  /** Runs of the workflows that are jobs of a batch. */
  | { readonly batch: number; readonly acted: number }
  /** A further round of a batch was asked for. */
  | { readonly batch: number; readonly retries: number };

/** A worker by its place, or the one that started a job last: an idle one has nothing to lose. */
export type Victim = number | 'busy';

export type ServerName = 'temporal' | 'postgres';

export type Fault =
  | { readonly kind: 'kill-worker'; readonly worker: Victim }
  | { readonly kind: 'pause-worker'; readonly worker: Victim; readonly ms: number }
  | { readonly kind: 'stop-worker'; readonly worker: Victim }
  | { readonly kind: 'kill-enqueuer'; readonly batch: number }
  | { readonly kind: 'pause-enqueuer'; readonly batch: number; readonly ms: number }
  | { readonly kind: 'restart-server'; readonly server: ServerName; readonly downMs: number }
  | { readonly kind: 'drop-connections'; readonly servers: readonly ServerName[] }
  | { readonly kind: 'read-only'; readonly ms: number }
  | { readonly kind: 'freeze-connections'; readonly servers: readonly ServerName[]; readonly ms: number }
  | { readonly kind: 'repeat-signals'; readonly batch: number; readonly ms: number }
  | { readonly kind: 'terminate-runner'; readonly batch: number }
  | { readonly kind: 'pause-batch'; readonly batch: number; readonly ms: number }
  | { readonly kind: 'cancel-batch'; readonly batch: number }
  | { readonly kind: 'end-workflow'; readonly batch: number; readonly how: 'cancel' | 'terminate' }
  | {
      readonly kind: 'update-batch';
      readonly batch: number;
      readonly changes: Partial<PolicyPlan>;
      /** Of all its jobs; undefined: they stay as they are. */
      readonly limits: JobLimitPlan | undefined;
      /** From then on; null takes the deadline away; undefined leaves it as it is. */
      readonly deadlineMs: number | null | undefined;
    };

export type FaultKind = Fault['kind'];

export interface PlannedFault {
  readonly when: Trigger;
  readonly fault: Fault;
}

export const FAULT_KINDS: readonly FaultKind[] = [
  'kill-worker',
  'pause-worker',
  'stop-worker',
  'kill-enqueuer',
  'pause-enqueuer',
  'restart-server',
  'drop-connections',
  'freeze-connections',
  'read-only',
  'repeat-signals',
  'terminate-runner',
  'pause-batch',
  'cancel-batch',
  'update-batch',
  'end-workflow',
];

/** Arguments of a job may have 64 KiB. */
const MOST_ARGS_BYTES = 48_000;
/** Of all jobs of a round: a multiple of what fits into the heap beside everything else. */
const ALL_ARGS_BYTES = 150_000_000;

/** Planned with a batch that can have them. */
const OF_BATCHES: readonly FaultKind[] = ['kill-enqueuer', 'pause-enqueuer', 'end-workflow'];

/**
 * Plans a round: the same seed gives the same plan.
 *
 * @param kinds faults to choose from; without any, the round is a control that must pass whatever the library does
 */
export function planRound(seed: number, kinds: readonly FaultKind[] = FAULT_KINDS): RoundPlan {
  // Neighbouring seeds start the generator in neighbouring states; a few draws set them apart.
  const random = randomFrom(Math.imul(seed, 0x9e3779b1));
  const workers = Array.from({ length: random.pick([1, 2, 2, 3, 3]) }, () => planWorker(random));
  const capacity = workers.reduce((sum, { maxConcurrentJobs }) => sum + maxConcurrentJobs, 0);
  const isSecondQueueUsed = random.chance(0.3);
  const count = random.int(2, 5);
  const batches = Array.from({ length: count }, (_, index) =>
    planBatch(random, { index, capacity: capacity / count, isSecondQueueUsed, kinds }),
  );
  const faults = batches.flatMap((batch) => [
    ...planEnqueuerFaults(random, batch, kinds),
    ...planWorkflowFaults(random, batch, kinds),
  ]);
  const others = kinds.filter((kind) => !OF_BATCHES.includes(kind));
  const length = others.length === 0 ? 0 : random.int(faults.length === 0 ? 1 : 0, 4);
  for (let i = 0; i < length; i++) {
    const fault = planFault(random, random.pick(others), { batches, workers });
    faults.push({ when: planTrigger(random, batches, capacity), fault });
  }
  const jobs = batches.reduce((sum, { size }) => sum + size, 0);
  const conditions = planConditions(random, jobs);
  return { seed, workers, batches: planShared(random, batches), faults, conditions };
}

/** Most rounds have none: these slow everything down. */
function planConditions(random: Random, jobs: number): ConditionsPlan {
  const kind = random.next();
  return {
    timeouts: kind < 0.15 ? { statementMs: random.int(300, 1_500), lockMs: random.int(100, 500) } : null,
    hasForeignWorker: kind >= 0.15 && kind < 0.22,
    hasCodec: kind >= 0.3 && kind < 0.4,
    memory:
      kind >= 0.22 && kind < 0.3
        ? { argsBytes: Math.min(MOST_ARGS_BYTES, Math.floor(ALL_ARGS_BYTES / jobs)), heapMiB: 256 }
        : null,
  };
}

function planWorker(random: Random): WorkerPlan {
  return {
    maxConcurrentJobs: random.pick([10, 20, 50, 100, 200]),
    restartMs: random.int(0, 2_000),
    reports: random.chance(0.6),
  };
}

function planEnqueuerFaults(random: Random, batch: BatchPlan, kinds: readonly FaultKind[]): PlannedFault[] {
  if (!batch.enqueuer.isProcess) return [];
  // It dies by itself, where its workflow says so.
  if (batch.workflows.some(({ killsEnqueuer }) => killsEnqueuer !== null)) return [];
  const { length } = batch.workflows;
  const when =
    length > 0 && random.chance(0.5)
      ? { batch: batch.index, starting: random.int(1, length) }
      : { batch: batch.index, enrolled: random.int(0, batch.size) };
  const isKill = kinds.includes('kill-enqueuer') && (!kinds.includes('pause-enqueuer') || random.chance(0.6));
  if (isKill) return [{ when, fault: { kind: 'kill-enqueuer', batch: batch.index } }];
  const ms = random.int(500, 2 * batch.enrollmentTimeoutMs);
  return [{ when, fault: { kind: 'pause-enqueuer', batch: batch.index, ms } }];
}

function planWorkflowFaults(
  random: Random,
  { index, workflows }: BatchPlan,
  kinds: readonly FaultKind[],
): PlannedFault[] {
  if (workflows.length === 0 || !kinds.includes('end-workflow') || random.chance(0.6)) return [];
  const how = random.pick(['cancel', 'terminate'] as const);
  const when = { batch: index, acted: random.int(1, workflows.length) };
  return [{ when, fault: { kind: 'end-workflow', batch: index, how } }];
}

function planFault(
  random: Random,
  kind: FaultKind,
  { batches, workers }: { batches: readonly BatchPlan[]; workers: readonly WorkerPlan[] },
): Fault {
  const worker = random.chance(0.7) ? 'busy' : random.int(0, workers.length - 1);
  const batch = random.int(0, batches.length - 1);
  const servers = random.pick<readonly ServerName[]>([['temporal'], ['postgres'], ['temporal', 'postgres']]);
  switch (kind) {
    case 'kill-worker':
    case 'stop-worker':
      return { kind, worker };
    case 'pause-worker':
      // Short ones pass unnoticed; from 10 s on the heartbeats are missed and chunks run twice at once.
      return { kind, worker, ms: random.chance(0.35) ? random.int(200, 4_000) : random.int(8_000, 16_000) };
    case 'restart-server':
      return {
        kind,
        server: random.pick<ServerName>(['temporal', 'postgres']),
        downMs: random.chance(0.5) ? 0 : random.int(500, 6_000),
      };
    case 'drop-connections':
      return { kind, servers };
    case 'read-only':
      return { kind, ms: random.int(500, 15_000) };
    case 'freeze-connections':
      return { kind, servers, ms: random.int(500, 12_000) };
    case 'repeat-signals':
      // Runners report by signals; small batches have none.
      return { kind, batch: random.chance(0.7) ? largest(batches) : batch, ms: random.int(0, 8_000) };
    case 'terminate-runner':
      return { kind, batch: largest(batches) };
    case 'pause-batch':
      return { kind, batch, ms: random.int(0, 4_000) };
    case 'cancel-batch':
      return { kind, batch };
    case 'update-batch':
      return {
        kind,
        batch,
        changes: planChanges(random),
        limits: random.chance(0.4) ? planNewLimits(random, batches[batch]!) : undefined,
        deadlineMs: planDeadlineChange(random),
      };
    case 'end-workflow':
    case 'kill-enqueuer':
    case 'pause-enqueuer':
      throw new Error(`${kind} is planned with its batch.`);
  }
}

function planDeadlineChange(random: Random): number | null | undefined {
  const kind = random.next();
  return kind < 0.1 ? null : kind < 0.25 ? planDeadline(random) : undefined;
}

/** The batch that has a runner, if one has: see `assignRanges`. */
function largest(batches: readonly BatchPlan[]): number {
  const short = batches.filter(({ continueAsNewAfterEvents }) => continueAsNewAfterEvents !== null);
  return (short.length > 0 ? short : batches).reduce((most, batch) => (batch.size > most.size ? batch : most))
    .index;
}

/** Two of three faults come while jobs run, by what is done and not by the clock: machines differ. */
function planTrigger(random: Random, batches: readonly BatchPlan[], capacity: number): Trigger {
  const retried = batches.filter(({ retries }) => retries.length > 0);
  if (retried.length > 0 && random.chance(0.15)) return { batch: random.pick(retried).index, retries: 1 };
  const jobs = batches.reduce((sum, { size }) => sum + size, 0);
  if (random.chance(0.67)) return { jobsStarted: Math.floor(jobs * (0.02 + 0.93 * random.next())) };
  const work = batches.reduce((sum, { size, jobMs }) => sum + (size * (jobMs[0] + jobMs[1])) / 2, 0);
  return { afterMs: Math.floor((2_000 + work / capacity) * 1.5 * random.next()) };
}

/** One line a batch and a fault, for people. */
export function describePlan({ workers, batches, faults, conditions }: RoundPlan): string[] {
  const { timeouts, hasCodec, hasForeignWorker, memory } = conditions;
  return [
    ...(hasCodec ? ['a payload codec'] : []),
    ...(timeouts ? [`sessions: statements ${timeouts.statementMs} ms, locks ${timeouts.lockMs} ms`] : []),
    ...(hasForeignWorker ? ['a worker of another schema on the task queue'] : []),
    ...(memory ? [`arguments of ${memory.argsBytes} bytes, heaps of ${memory.heapMiB} MiB`] : []),
    `workers: ${workers.map(({ maxConcurrentJobs, reports }) => `${maxConcurrentJobs} at once${reports ? ', with the plugin' : ''}`).join('; ')}`,
    ...batches.map(describeBatch),
    ...faults.map(({ when, fault }) => {
      const { kind, ...details } = fault;
      return `fault: ${kind} ${JSON.stringify(details)} when ${JSON.stringify(when)}`;
    }),
  ];
}
