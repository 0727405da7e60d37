import { ApplicationFailure } from '@temporalio/common';
import { currentJob, defineJob } from '../../src/index.ts';

/** Holds those who pass until it is opened, all in the same moment. */
export interface Gate {
  /** Resolves once the gate is open. */
  pass(): Promise<void>;
  /** Resolves once so many are held or have passed. */
  arrivals(count: number): Promise<void>;
  open(): void;
}

function createGate(): Gate {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  let arrived = 0;
  let waiters: { readonly count: number; readonly resolve: () => void }[] = [];
  const wake = () => {
    for (const { count, resolve } of waiters) if (arrived >= count) resolve();
    waiters = waiters.filter(({ count }) => arrived < count);
  };
  return {
    open,
    pass: () => {
      arrived++;
      wake();
      return opened;
    },
    arrivals: (count) =>
      new Promise((resolve) => {
        waiters.push({ count, resolve });
        wake();
      }),
  };
}

/**
 * Jobs that are held at a gate of a name, for a worker in the test's own process: the test knows that they run, and
 * lets them end together.
 */
export function createGates() {
  const gates = new Map<string, Gate>();
  const gate = (name: string): Gate => {
    const known = gates.get(name) ?? createGate();
    gates.set(name, known);
    return known;
  };
  const jobs = {
    pass: defineJob('Pass', (name: string) => gate(name).pass()),
    passAndFail: defineJob('PassAndFail', async (name: string) => {
      await gate(name).pass();
      throw ApplicationFailure.nonRetryable('behind the gate', 'HopelessError');
    }),
    /** Fails its first attempt at once, and is held in its second. */
    failThenPass: defineJob(
      'FailThenPass',
      async (name: string) => {
        if (currentJob().attempt === 1) throw new RangeError('the first attempt');
        await gate(name).pass();
      },
      { retry: { initialInterval: '50ms', maximumAttempts: 2 } },
    ),
  };
  return { gate, jobs };
}
