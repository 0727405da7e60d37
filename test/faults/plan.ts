import { randomFrom, type Random } from '../support/random.ts';

/** All that happens in one round, from one number. */
export interface RoundPlan {
  readonly seed: number;
  readonly batches: readonly BatchPlan[];
  readonly workers: readonly WorkerPlan[];
  readonly faults: readonly PlannedFault[];
}

export interface BatchPlan {
  /** Its place in the round; its id is made from it. */
  readonly index: number;
  /** Its jobs follow from this: see {@link jobOf}. */
  readonly seed: number;
  readonly size: number;
  /** Shortest and longest time of a job. */
  readonly jobMs: readonly [number, number];
  /** Shares of jobs: none of them is sure to occur in a small batch. */
  readonly share: {
    /** Jobs of 3 s. */
    readonly slow: number;
    /** Jobs that fail up to three times, and then succeed. */
    readonly flaky: number;
    /** Jobs that fail at every attempt. */
    readonly exhausting: number;
    /** Jobs whose first error is not retryable. */
    readonly hopeless: number;
    readonly delayed: number;
    /** Jobs of the second task queue. */
    readonly second: number;
  };
  readonly failWhen: 'settled' | 'immediate';
  readonly continueAsNewAfterEvents: number | null;
  readonly enrollmentTimeoutMs: number;
  readonly enqueuer: EnqueuerPlan;
  readonly callbacks: CallbackPlan;
}

export interface EnqueuerPlan {
  /** A process of its own, to be killed or paused; otherwise in the conductor's. */
  readonly isProcess: boolean;
  readonly startMs: number;
  /** Pauses for `pauseMs` after every `burst` jobs. */
  readonly burst: number;
  readonly pauseMs: number;
  /** Throws before it enrols the job with this index. */
  readonly throwsAt: number | null;
}

export interface CallbackPlan {
  /** The first attempts that throw. */
  readonly failures: number;
  /** The first attempt kills its own process: before or after what it does. */
  readonly killed: 'before' | 'after' | null;
  readonly isTransactional: boolean;
}

export interface WorkerPlan {
  readonly maxConcurrentJobs: number;
  /** Time until a process manager starts it again. */
  readonly restartMs: number;
}

/** What a job does: the handler gets it as its arguments. */
export interface JobPlan {
  readonly ms: number;
  /** The first attempts that fail. */
  readonly failures: number;
  readonly isHopeless: boolean;
  readonly startDelayMs: number;
  readonly isSecondQueue: boolean;
}

/** When a fault happens: so long after the start, or once so much is done. */
export type Trigger =
  | { readonly afterMs: number }
  /** Executions of jobs that began, in the whole round. */
  | { readonly jobsStarted: number }
  /** Jobs of a batch that its block has enrolled. */
  | { readonly batch: number; readonly enrolled: number };

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
  | { readonly kind: 'freeze-connections'; readonly servers: readonly ServerName[]; readonly ms: number }
  | { readonly kind: 'repeat-signals'; readonly batch: number; readonly ms: number }
  | { readonly kind: 'terminate-runner'; readonly batch: number }
  | { readonly kind: 'pause-batch'; readonly batch: number; readonly ms: number }
  | { readonly kind: 'cancel-batch'; readonly batch: number };

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
  'repeat-signals',
  'terminate-runner',
  'pause-batch',
  'cancel-batch',
];

/** Attempts of every job, at most. */
export const MAXIMUM_ATTEMPTS = 4;
/** More failures than attempts: the job fails for good. */
const ALWAYS = 99;
const SLOW_JOB_MS = 3_000;
/** A round's jobs take about so long at most when nothing goes wrong. */
const WORK_BUDGET_MS = 6_000;
/** Longer than any outage of a plan: only an enqueuer that is gone is given up. */
const PATIENT_MS = 30_000;

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
  const faults = batches.flatMap((batch) => planEnqueuerFaults(random, batch, kinds));
  const others = kinds.filter((kind) => kind !== 'kill-enqueuer' && kind !== 'pause-enqueuer');
  const length = others.length === 0 ? 0 : random.int(faults.length === 0 ? 1 : 0, 4);
  for (let i = 0; i < length; i++) {
    const fault = planFault(random, random.pick(others), { batches, workers });
    faults.push({ when: planTrigger(random, batches, capacity), fault });
  }
  return { seed, workers, batches, faults };
}

function planWorker(random: Random): WorkerPlan {
  return { maxConcurrentJobs: random.pick([10, 20, 50, 100, 200]), restartMs: random.int(0, 2_000) };
}

function planBatch(
  random: Random,
  round: {
    readonly index: number;
    readonly capacity: number;
    readonly isSecondQueueUsed: boolean;
    readonly kinds: readonly FaultKind[];
  },
): BatchPlan {
  const { index, capacity, isSecondQueueUsed, kinds } = round;
  const size = planSize(random);
  const share = (probability: number, most: number) =>
    random.chance(probability) ? random.next() * most : 0;
  // As long as the budget allows: 2,000 jobs of 300 ms would keep a small worker busy for minutes.
  const longest = Math.min(random.int(0, 300), Math.floor((2 * WORK_BUDGET_MS * capacity) / size));
  const isDoomed =
    (kinds.includes('kill-enqueuer') || kinds.includes('pause-enqueuer')) && random.chance(0.25);
  return {
    index,
    seed: random.int(0, 2 ** 31),
    size,
    jobMs: [random.chance(0.5) ? longest : 0, longest],
    share: {
      slow: size <= 100 ? share(0.2, 0.1) : 0,
      flaky: share(0.5, 0.3),
      exhausting: share(0.2, 0.05),
      hopeless: share(0.3, 0.1),
      delayed: share(0.2, 0.2),
      second: isSecondQueueUsed ? share(0.7, 1) : 0,
    },
    failWhen: random.chance(0.3) ? 'immediate' : 'settled',
    continueAsNewAfterEvents: planHistory(random),
    enrollmentTimeoutMs: isDoomed ? random.int(3_000, 5_000) : PATIENT_MS,
    enqueuer: planEnqueuer(random, size, isDoomed),
    callbacks: planCallbacks(random, kinds.includes('kill-worker')),
  };
}

/** Where histories are to be short, more ranges run in child workflows. */
function planHistory(random: Random): number | null {
  const kind = random.next();
  return kind < 0.3 ? random.int(40, 200) : kind < 0.6 ? random.int(201, 600) : null;
}

/** Mostly small, some hundreds, now and then 2,000. */
function planSize(random: Random): number {
  const kind = random.next();
  if (kind < 0.55) return random.int(1, 60);
  if (kind < 0.9) return random.int(61, 600);
  return random.int(601, 2_000);
}

function planEnqueuer(random: Random, size: number, isDoomed: boolean): EnqueuerPlan {
  // Who is to be killed in its block has to be in it for a while.
  const isSlow = isDoomed || random.chance(0.3);
  const bursts = Math.min(size, random.int(5, 20));
  return {
    isProcess: isDoomed,
    startMs: random.chance(0.5) ? 0 : random.int(0, 2_000),
    burst: isSlow ? Math.ceil(size / bursts) : size,
    pauseMs: isSlow ? random.int(50, 250) : 0,
    throwsAt: random.chance(0.07) ? random.int(0, size - 1) : null,
  };
}

function planCallbacks(random: Random, isKilling: boolean): CallbackPlan {
  const kind = random.next();
  return {
    failures: kind < 0.2 ? random.int(1, 2) : 0,
    killed: !isKilling || kind < 0.88 ? null : kind < 0.94 ? 'after' : 'before',
    isTransactional: random.chance(0.3),
  };
}

function planEnqueuerFaults(random: Random, batch: BatchPlan, kinds: readonly FaultKind[]): PlannedFault[] {
  if (!batch.enqueuer.isProcess) return [];
  const when = { batch: batch.index, enrolled: random.int(0, batch.size) };
  const isKill = kinds.includes('kill-enqueuer') && (!kinds.includes('pause-enqueuer') || random.chance(0.6));
  if (isKill) return [{ when, fault: { kind: 'kill-enqueuer', batch: batch.index } }];
  const ms = random.int(500, 2 * batch.enrollmentTimeoutMs);
  return [{ when, fault: { kind: 'pause-enqueuer', batch: batch.index, ms } }];
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
    case 'kill-enqueuer':
    case 'pause-enqueuer':
      throw new Error(`${kind} is planned with its batch.`);
  }
}

/** The batch that has a runner, if one has: see `assignRanges`. */
function largest(batches: readonly BatchPlan[]): number {
  const short = batches.filter(({ continueAsNewAfterEvents }) => continueAsNewAfterEvents !== null);
  return (short.length > 0 ? short : batches).reduce((most, batch) => (batch.size > most.size ? batch : most))
    .index;
}

/** Two of three faults come while jobs run, by what is done and not by the clock: machines differ. */
function planTrigger(random: Random, batches: readonly BatchPlan[], capacity: number): Trigger {
  const jobs = batches.reduce((sum, { size }) => sum + size, 0);
  if (random.chance(0.67)) return { jobsStarted: Math.floor(jobs * (0.02 + 0.93 * random.next())) };
  const work = batches.reduce((sum, { size, jobMs }) => sum + (size * (jobMs[0] + jobMs[1])) / 2, 0);
  return { afterMs: Math.floor((2_000 + work / capacity) * 1.5 * random.next()) };
}

/** What a job of a batch does. Positions count from 1, indexes from 0. */
export function jobOf({ seed, jobMs, share }: BatchPlan, index: number): JobPlan {
  const random = randomFrom(Math.imul(seed + index, 0x9e3779b1));
  const ms = random.chance(share.slow) ? SLOW_JOB_MS : random.int(...jobMs);
  const fate = random.next();
  const isHopeless = fate < share.hopeless;
  const isExhausting = !isHopeless && fate < share.hopeless + share.exhausting;
  const isFlaky = !isHopeless && !isExhausting && fate > 1 - share.flaky;
  return {
    ms,
    failures: isExhausting ? ALWAYS : isFlaky ? random.int(1, MAXIMUM_ATTEMPTS - 1) : 0,
    isHopeless,
    startDelayMs: random.chance(share.delayed) ? random.int(200, 3_000) : 0,
    isSecondQueue: random.chance(share.second),
  };
}

/** One line a batch and a fault, for people. */
export function describePlan({ workers, batches, faults }: RoundPlan): string[] {
  return [
    `workers: ${workers.map(({ maxConcurrentJobs }) => `${maxConcurrentJobs} at once`).join(', ')}`,
    ...batches.map(describeBatch),
    ...faults.map(({ when, fault }) => {
      const { kind, ...details } = fault;
      return `fault: ${kind} ${JSON.stringify(details)} when ${JSON.stringify(when)}`;
    }),
  ];
}

function describeBatch(batch: BatchPlan): string {
  const { index, size, jobMs, share, failWhen, enqueuer, callbacks } = batch;
  const shares = Object.entries(share)
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${name} ${(value * 100).toFixed(0)} %`);
  return [
    `batch ${index}: ${size} jobs of ${jobMs[0]} to ${jobMs[1]} ms`,
    ...shares,
    ...(failWhen === 'immediate' ? ['fails at once'] : []),
    ...(batch.continueAsNewAfterEvents === null
      ? []
      : [`new after ${batch.continueAsNewAfterEvents} events`]),
    ...(enqueuer.isProcess ? [`enqueuer process, timeout ${batch.enrollmentTimeoutMs} ms`] : []),
    ...(enqueuer.pauseMs > 0 ? [`slow enqueuer`] : []),
    ...(enqueuer.throwsAt === null ? [] : [`block throws at ${enqueuer.throwsAt}`]),
    ...(callbacks.failures > 0 ? [`callbacks fail ${callbacks.failures} times`] : []),
    ...(callbacks.killed === null ? [] : [`worker killed ${callbacks.killed} the callback's effect`]),
    ...(callbacks.isTransactional ? ['transactional callbacks'] : []),
  ].join(', ');
}
