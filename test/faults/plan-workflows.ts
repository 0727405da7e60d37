import type { Random } from '../support/random.ts';

/** A workflow of the app that is a job of a batch, beside those that have handlers. */
export interface WorkflowPlan {
  readonly task: WorkflowTask;
  /** It is started before the job with this index is enrolled. */
  readonly before: number;
  readonly by: 'start' | 'signalWithStart';
  /** Whether the block waits for its start before it goes on. */
  readonly isAwaited: boolean;
  /** It is started a second time, which is to be refused: at once where the block does not wait, else after the first. */
  readonly isRepeated: boolean;
  /** Before its batch runs what failed again, somebody starts it again, and this time it completes. */
  readonly isStartedAgain: boolean;
  /** An enqueuer in a process of its own is killed as it starts it: before the request leaves, or after its answer. */
  readonly killsEnqueuer: 'before' | 'after' | null;
}

/** What a workflow does: it gets it as an argument. */
export interface WorkflowTask {
  /** Names the job in its batch. */
  readonly name: string;
  readonly ms: number;
  /** The first runs that fail, and are tried again by its own retry policy. */
  readonly failures: number;
  readonly isHopeless: boolean;
  /** How often it continues as new. */
  readonly continuations: number;
  /** Workflows that it starts itself: they are no jobs. */
  readonly children: number;
}

/** Runs of a workflow by its own retry policy, at most. */
export const MAXIMUM_RUNS = 3;
/** More failures than runs. */
const ALWAYS = 99;
/** The dev server starts 30 or 40 in a second. */
const MOST = 15;

/** None, for most batches. */
export function planWorkflows(
  random: Random,
  { size, isDoomed, isKilling }: { size: number; isDoomed: boolean; isKilling: boolean },
): WorkflowPlan[] {
  const count = random.chance(0.25) ? random.int(1, MOST) : 0;
  const killer = isDoomed && isKilling && random.chance(0.5) ? random.int(0, count) : null;
  return Array.from({ length: count }, (_, index) => ({
    task: planTask(random, `workflow ${index}`),
    before: random.int(0, size - 1),
    by: random.chance(0.2) ? 'signalWithStart' : 'start',
    isAwaited: random.chance(0.5),
    isRepeated: random.chance(0.1),
    isStartedAgain: random.chance(0.5),
    killsEnqueuer: index === killer ? random.pick(['before', 'after'] as const) : null,
  }));
}

function planTask(random: Random, name: string): WorkflowTask {
  const fate = random.next();
  const shape = random.next();
  return {
    name,
    // Some take so long that there is time to end them.
    ms: random.chance(0.3) ? random.int(1_000, 5_000) : random.int(0, 300),
    failures: fate < 0.08 ? ALWAYS : fate < 0.3 ? random.int(1, MAXIMUM_RUNS - 1) : 0,
    isHopeless: fate > 0.9,
    continuations: shape < 0.2 ? random.int(1, 3) : 0,
    children: shape > 0.8 ? random.int(1, 2) : 0,
  };
}

/** What a workflow does that is started again after it has failed. */
export function healed(task: WorkflowTask): WorkflowTask {
  return { ...task, failures: 0, isHopeless: false };
}

/** How a workflow ends when nobody ends it. */
export function endOfWorkflow({ failures, isHopeless }: WorkflowTask): {
  readonly end: 'complete' | 'failed';
  readonly errorClass: string | null;
} {
  if (isHopeless) return { end: 'failed', errorClass: 'HopelessError' };
  if (failures >= MAXIMUM_RUNS) return { end: 'failed', errorClass: 'FlakyError' };
  return { end: 'complete', errorClass: null };
}

/** For people: how many there are, and of which kinds. */
export function describeWorkflows(workflows: readonly WorkflowPlan[]): string[] {
  if (workflows.length === 0) return [];
  const kinds: readonly [string, (plan: WorkflowPlan) => boolean][] = [
    ['fail', ({ task }) => endOfWorkflow(task).end === 'failed'],
    ['are retried', ({ task }) => task.failures > 0 && task.failures < MAXIMUM_RUNS && !task.isHopeless],
    ['continue as new', ({ task }) => task.continuations > 0],
    ['have children', ({ task }) => task.children > 0],
    ['kill their enqueuer', ({ killsEnqueuer }) => killsEnqueuer !== null],
  ];
  const counted = kinds
    .map(([name, isOne]) => [workflows.filter(isOne).length, name] as const)
    .filter(([count]) => count > 0)
    .map(([count, name]) => `${count} ${name}`);
  return [`${workflows.length} workflows${counted.length === 0 ? '' : ` (${counted.join(', ')})`}`];
}
