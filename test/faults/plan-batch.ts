import { randomFrom, type Random } from '../support/random.ts';
import type { FaultKind } from './plan.ts';
import {
  describePolicy,
  planDeadline,
  planPolicy,
  planRetries,
  type PolicyPlan,
  type RetryPlan,
} from './plan-policy.ts';
import { describeWorkflows, planWorkflows, type WorkflowPlan } from './plan-workflows.ts';

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
    /** Of the jobs that fail for good, those that succeed in a later round. */
    readonly healing: number;
    /** Jobs that add one to three others to their batch. */
    readonly parents: number;
    readonly delayed: number;
    /** Jobs of the second task queue. */
    readonly second: number;
    /** Jobs of the second name. */
    readonly side: number;
  };
  /** A job that takes a hundred times as long as the others; null: none does. */
  readonly straggler: { readonly index: number; readonly ms: number } | null;
  /** Jobs that are workflows, beside the others. */
  readonly workflows: readonly WorkflowPlan[];
  /** How often these are looked at; null: as often as without the option. */
  readonly workflowCheckMs: number | null;
  readonly policy: PolicyPlan;
  /** From its creation; null: none. */
  readonly deadlineMs: number | null;
  readonly alertAfterIdleMs: number | null;
  readonly limits: LimitPlan;
  /** What the jobs that its blocks enroll are under beside those, with jobs of other batches; null: nothing. */
  readonly shared: SharedLimitPlan | null;
  readonly retries: readonly RetryPlan[];
  /** What its jobs return is stored. */
  readonly storesResults: boolean;
  readonly continueAsNewAfterEvents: number | null;
  readonly enrollmentTimeoutMs: number;
  readonly enqueuer: EnqueuerPlan;
  readonly callbacks: CallbackPlan;
}

/** A limit over all batches of the round that are under it. */
export interface SharedLimitPlan {
  readonly maxConcurrent: number;
  readonly perSecond: number | null;
  readonly keyMaxConcurrent: number | null;
  /** That of the batch's jobs; null: none. */
  readonly key: string | null;
}

/** How fast it goes, over all workers; null: as fast as it can. */
export interface LimitPlan extends JobLimitPlan {
  /** Of its jobs of the second name. */
  readonly side: JobLimitPlan;
}

export interface JobLimitPlan {
  readonly maxConcurrentJobs: number | null;
  readonly perSecond: number | null;
}

export interface EnqueuerPlan {
  /** A process of its own, to be killed or paused; otherwise in the conductor's. */
  readonly isProcess: boolean;
  readonly startMs: number;
  /** Whether the block awaits its starts. */
  readonly isAwaited: boolean;
  /** Pauses for `pauseMs` after every `burst` jobs. */
  readonly burst: number;
  readonly pauseMs: number;
  /** Throws before it enrols the job with this index. */
  readonly throwsAt: number | null;
  /** Two blocks that are open one after the other, or at once, and then a seal. */
  readonly openEnded: 'in turn' | 'at once' | null;
  /** Jobs from this index on have keys, and some are started twice. */
  readonly keyedFrom: number | null;
  /** So long after the enqueuer has started, somebody else creates the same batch; null: nobody. */
  readonly createdAgainMs: number | null;
  /** Once it was killed it is started again, and resumes its block: all its jobs have keys. */
  readonly isResumed: boolean;
}

export interface CallbackPlan {
  /** The first attempts that throw. */
  readonly failures: number;
  /** The first attempt kills its own process: before or after what it does. */
  readonly killed: 'before' | 'after' | null;
  readonly isTransactional: boolean;
}

/** What a job does: its handler gets it as an argument. */
export interface Task {
  /** Names the job in its batch. */
  readonly name: string;
  readonly ms: number;
  /** The first attempts that fail. */
  readonly failures: number;
  readonly isHopeless: boolean;
  /** Succeeds at once in every round but the first. */
  readonly isHealing: boolean;
  /** How much longer it takes then: a round of a few jobs would be over before anything can break. */
  readonly healingMs: number;
  /** Jobs that its handler adds to the batch, at each attempt. */
  readonly children: readonly Task[];
  /** Makes the arguments large. */
  readonly filler?: string;
}

export interface JobPlan {
  readonly task: Task;
  readonly startDelayMs: number;
  readonly isSecondQueue: boolean;
  readonly isSide: boolean;
}

/** Names of the jobs that have handlers. */
export type JobName = 'Work' | 'Work with a result' | 'Side work' | 'Side work with a result';

/** A block of a batch: it enrols the jobs with the indexes `from` to below `to`, and throws then where it is to. */
export interface BlockPlan {
  readonly from: number;
  readonly to: number;
  readonly throws: boolean;
}

/** Attempts of every job in a round, at most. */
export const MAXIMUM_ATTEMPTS = 4;
/** More failures than attempts: the job fails for good. */
const ALWAYS = 99;
const SLOW_JOB_MS = 3_000;
const HEALING_MS = 2_000;
const LONGEST_STRAGGLER_MS = 15_000;
/** A round's jobs take about so long at most when nothing goes wrong. */
const WORK_BUDGET_MS = 6_000;
const NO_LIMITS: JobLimitPlan = { maxConcurrentJobs: null, perSecond: null };
/** Longer than any outage of a plan: only an enqueuer that is gone is given up. */
const PATIENT_MS = 30_000;

export function planBatch(
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
  const isKilling = kinds.includes('kill-enqueuer');
  const isDoomed = (isKilling || kinds.includes('pause-enqueuer')) && random.chance(0.25);
  const retries = planRetries(random);
  const side = share(0.2, 1);
  const straggler = random.chance(0.25)
    ? {
        index: random.int(0, size - 1),
        ms: Math.min(LONGEST_STRAGGLER_MS, Math.max(SLOW_JOB_MS, 100 * longest)),
      }
    : null;
  return {
    index,
    seed: random.int(0, 2 ** 31),
    size,
    jobMs: [random.chance(0.5) ? longest : 0, longest],
    share: {
      slow: size <= 100 ? share(0.2, 0.1) : 0,
      flaky: share(0.5, 0.3),
      exhausting: share(0.2, 0.05),
      // Without any there is nothing to retry.
      hopeless: share(retries.length > 0 ? 0.8 : 0.3, 0.1),
      healing: random.pick([0, 0.5, 1, 1]),
      parents: size <= 300 ? share(0.2, 0.15) : 0,
      delayed: share(0.2, 0.2),
      second: isSecondQueueUsed ? share(0.7, 1) : 0,
      side,
    },
    straggler,
    workflows: planWorkflows(random, { size, isDoomed, isKilling }),
    workflowCheckMs: random.pick([null, 1_000, 5_000]),
    policy: planPolicy(random),
    deadlineMs: random.chance(0.15) ? planDeadline(random) : null,
    alertAfterIdleMs: random.chance(0.15) ? random.int(500, 3_000) : null,
    limits: {
      ...planLimits(random, size, longest, { concurrency: 0.12, rate: 0.1 }),
      side:
        side > 0
          ? planLimits(random, Math.ceil(size * side), longest, { concurrency: 0.5, rate: 0.5 })
          : NO_LIMITS,
    },
    shared: null,
    retries,
    storesResults: random.chance(0.3),
    // It is to be slow while histories are long.
    continueAsNewAfterEvents: straggler && random.chance(0.7) ? random.int(20, 150) : planHistory(random),
    enrollmentTimeoutMs: isDoomed ? random.int(3_000, 5_000) : PATIENT_MS,
    enqueuer: planEnqueuer(random, size, { isDoomed, isKilling }),
    callbacks: planCallbacks(random, kinds.includes('kill-worker')),
  };
}

/** What a batch may have instead of the limits that it has. */
export function planNewLimits(random: Random, { size, jobMs }: BatchPlan): JobLimitPlan {
  return planLimits(random, size, jobMs[1], { concurrency: 0.6, rate: 0.4 });
}

/** Puts some of the batches under a limit that they share. Most rounds have none. */
export function planShared(random: Random, batches: readonly BatchPlan[]): BatchPlan[] {
  if (random.chance(0.6)) return [...batches];
  const size = batches.reduce((sum, batch) => sum + batch.size, 0);
  const longest = Math.max(...batches.map(({ jobMs }) => jobMs[1]));
  const { maxConcurrentJobs, perSecond } = planLimits(random, size, longest, { concurrency: 1, rate: 0.3 });
  const maxConcurrent = maxConcurrentJobs!;
  const keyMaxConcurrent = random.chance(0.3) ? Math.ceil(maxConcurrent / 2) : null;
  return batches.map((batch) => {
    if (random.chance(0.3)) return batch;
    const key = random.pick(['a', 'b', null]);
    return { ...batch, shared: { maxConcurrent, perSecond, keyMaxConcurrent, key } };
  });
}

/** Within the budget: without faults, the jobs of a limited batch take not much longer than those of others. */
function planLimits(
  random: Random,
  size: number,
  longest: number,
  probability: { readonly concurrency: number; readonly rate: number },
): JobLimitPlan {
  const least = Math.ceil((size * (longest + 20)) / WORK_BUDGET_MS);
  return {
    maxConcurrentJobs: random.chance(probability.concurrency) ? least + random.int(0, 10) : null,
    perSecond: random.chance(probability.rate)
      ? Math.ceil((1_000 * size) / WORK_BUDGET_MS) + random.int(0, 20) / 2
      : null,
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

function planEnqueuer(
  random: Random,
  size: number,
  { isDoomed, isKilling }: { isDoomed: boolean; isKilling: boolean },
): EnqueuerPlan {
  // Who is to be killed in its block has to be in it for a while.
  const isSlow = isDoomed || random.chance(0.3);
  const bursts = Math.min(size, random.int(5, 20));
  const openEnded = random.chance(0.15) ? random.pick(['in turn', 'at once'] as const) : null;
  const keyedFrom = random.chance(0.2) ? (random.chance(0.7) ? 0 : random.int(0, size - 1)) : null;
  return {
    isProcess: isDoomed,
    startMs: random.chance(0.5) ? 0 : random.int(0, 2_000),
    isAwaited: random.chance(0.85),
    burst: isSlow ? Math.ceil(size / bursts) : size,
    pauseMs: isSlow ? random.int(50, 250) : 0,
    // An open-ended batch without any job would be gone.
    throwsAt: random.chance(0.07)
      ? random.int(openEnded === null ? 0 : Math.min(1, size - 1), size - 1)
      : null,
    openEnded,
    keyedFrom,
    createdAgainMs: random.chance(0.25) ? random.int(0, 1_500) : null,
    isResumed: isKilling && isDoomed && openEnded === null && keyedFrom === 0 && random.chance(0.7),
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

/** The blocks of a batch. One that throws ends where it does. */
export function blocksOf({ size, enqueuer: { openEnded, throwsAt } }: BatchPlan): BlockPlan[] {
  const half = Math.ceil(size / 2);
  const bounds =
    openEnded === null
      ? [[0, size]]
      : [
          [0, half],
          [half, size],
        ];
  return bounds.map(([from, to]) => {
    const throws = throwsAt !== null && throwsAt >= from! && throwsAt < to!;
    return { from: from!, to: throws ? throwsAt : to!, throws };
  });
}

/** The workflows that a block starts. */
export function workflowsOf({ workflows }: BatchPlan, { from, to }: BlockPlan): WorkflowPlan[] {
  return workflows.filter(({ before }) => before >= from && before < to);
}

/** What a job of a batch does. Positions count from 1, indexes from 0. */
export function jobOf({ seed, jobMs, share, straggler }: BatchPlan, index: number): JobPlan {
  const random = randomFrom(Math.imul(seed + index, 0x9e3779b1));
  const usualMs = random.chance(share.slow) ? SLOW_JOB_MS : random.int(...jobMs);
  const ms = straggler?.index === index ? straggler.ms : usualMs;
  const fate = random.next();
  const isHopeless = fate < share.hopeless;
  const isExhausting = !isHopeless && fate < share.hopeless + share.exhausting;
  const isFlaky = !isHopeless && !isExhausting && fate > 1 - share.flaky;
  const startDelayMs = random.chance(share.delayed) ? random.int(200, 3_000) : 0;
  const isSecondQueue = random.chance(share.second);
  const isSide = random.chance(share.side);
  const name = `${index}`;
  const children = random.chance(share.parents) ? random.int(1, 3) : 0;
  return {
    task: {
      name,
      ms,
      failures: isExhausting ? ALWAYS : isFlaky ? random.int(1, MAXIMUM_ATTEMPTS - 1) : 0,
      isHopeless,
      isHealing: (isHopeless || isExhausting) && random.chance(share.healing),
      healingMs: random.int(0, HEALING_MS),
      children: Array.from({ length: children }, (_, child) => planChild(random, `${name}.${child}`, jobMs)),
    },
    startDelayMs,
    isSecondQueue,
    isSide,
  };
}

/** By the name it has limits, and a definition. */
export function jobNameOf({ storesResults }: Pick<BatchPlan, 'storesResults'>, isSide: boolean): JobName {
  if (isSide) return storesResults ? 'Side work with a result' : 'Side work';
  return storesResults ? 'Work with a result' : 'Work';
}

function planChild(random: Random, name: string, jobMs: BatchPlan['jobMs']): Task {
  const fate = random.next();
  return {
    name,
    ms: random.int(...jobMs),
    failures: fate > 0.8 ? random.int(1, MAXIMUM_ATTEMPTS - 1) : 0,
    isHopeless: fate < 0.1,
    isHealing: fate < 0.05,
    healingMs: 0,
    children: [],
  };
}

/** One line, for people. */
export function describeBatch(batch: BatchPlan): string {
  const { index, size, jobMs, share, policy, retries, enqueuer, callbacks } = batch;
  const shares = Object.entries(share)
    .filter(([, value]) => value > 0)
    .map(([name, value]) => `${name} ${(value * 100).toFixed(0)} %`);
  return [
    `batch ${index}: ${size} jobs of ${jobMs[0]} to ${jobMs[1]} ms`,
    ...shares,
    ...(batch.straggler === null ? [] : [`job ${batch.straggler.index} of ${batch.straggler.ms} ms`]),
    ...describePolicy(policy),
    ...(batch.deadlineMs === null ? [] : [`deadline ${batch.deadlineMs} ms, then ${policy.afterDeadline}`]),
    ...(batch.alertAfterIdleMs === null ? [] : [`alert after ${batch.alertAfterIdleMs} ms`]),
    ...describeLimits(batch.limits),
    ...describeLimits(batch.limits.side).map((limit) => `of the second name ${limit}`),
    ...(batch.shared === null ? [] : [describeShared(batch.shared)]),
    ...describeWorkflows(batch.workflows),
    ...(batch.workflows.length === 0 || batch.workflowCheckMs === null
      ? []
      : [`looked at every ${batch.workflowCheckMs} ms`]),
    ...(batch.storesResults ? ['results'] : []),
    ...(batch.continueAsNewAfterEvents === null
      ? []
      : [`new after ${batch.continueAsNewAfterEvents} events`]),
    ...(enqueuer.isProcess ? [`enqueuer process, timeout ${batch.enrollmentTimeoutMs} ms`] : []),
    ...(enqueuer.pauseMs > 0 ? ['slow enqueuer'] : []),
    ...(enqueuer.isAwaited ? [] : ['starts not awaited']),
    ...(enqueuer.openEnded === null ? [] : [`two blocks ${enqueuer.openEnded}`]),
    ...(enqueuer.keyedFrom === null ? [] : [`keys from ${enqueuer.keyedFrom} on`]),
    ...(enqueuer.createdAgainMs === null ? [] : [`created again after ${enqueuer.createdAgainMs} ms`]),
    ...(enqueuer.isResumed ? ['resumed'] : []),
    ...(enqueuer.throwsAt === null ? [] : [`block throws at ${enqueuer.throwsAt}`]),
    ...(callbacks.failures > 0 ? [`callbacks fail ${callbacks.failures} times`] : []),
    ...(callbacks.killed === null ? [] : [`worker killed ${callbacks.killed} the callback's effect`]),
    ...(callbacks.isTransactional ? ['transactional callbacks'] : []),
    ...retries.map(({ callers, cancelled, changes }) =>
      [
        `retried${callers > 1 ? ' by two at once' : ''}`,
        ...(cancelled ? ['with what was cancelled'] : []),
        ...(Object.keys(changes).length > 0 ? [`as ${JSON.stringify(changes)}`] : []),
      ].join(' '),
    ),
  ].join(', ');
}

function describeShared({ maxConcurrent, perSecond, keyMaxConcurrent, key }: SharedLimitPlan): string {
  return [
    `with others ${maxConcurrent} at once`,
    ...(perSecond === null ? [] : [`${perSecond} a second`]),
    ...(keyMaxConcurrent === null || key === null ? [] : [`${keyMaxConcurrent} of key ${key}`]),
  ].join(' and ');
}

function describeLimits({ maxConcurrentJobs, perSecond }: JobLimitPlan): string[] {
  return [
    ...(maxConcurrentJobs === null ? [] : [`${maxConcurrentJobs} at once`]),
    ...(perSecond === null ? [] : [`${perSecond} a second`]),
  ];
}
