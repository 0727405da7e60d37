import { setTimeout as delay } from 'node:timers/promises';
import { currentBatch, currentJob, defineCallback, defineJob } from '../../src/index.ts';
import { BrokenError } from './fixtures.ts';
import type { Ledger } from './ledger.ts';

/** Jobs and callbacks that hang, block, kill or outlive their worker. Known to worker processes only. */
export function createCrashFixtures(ledger: Ledger) {
  const note = async (detail: unknown, what = 'job') => {
    const { jid, batchId, attempt } = currentJob();
    await ledger.write({ what, batch_id: batchId ?? null, jid, attempt, detail });
  };
  const notes = async () => {
    const { jid, batchId } = currentJob();
    return (await ledger.of(batchId!, 'job')).filter((entry) => entry.jid === jid);
  };
  const fast = { initialInterval: '50ms', backoffCoefficient: 1 } as const;

  const jobs = {
    /** Leaves a second entry when it has ended. */
    noteBothEnds: defineJob('NoteBothEnds', async (value: unknown, ms: number) => {
      await note(value);
      await delay(ms);
      await note(value, 'job ended');
    }),
    /** Notes when it starts, by the clock of this machine. */
    noteStart: defineJob('NoteStart', async (_value: unknown) => note(Date.now())),
    /** Fails, then hangs in its last attempt until its worker is killed, then ends as it is told. */
    hangsInLastAttempt: defineJob(
      'HangsInLastAttempt',
      async (end: 'returns' | 'throws') => {
        const earlier = await notes();
        await note(end);
        if (currentJob().attempt === 1) throw new BrokenError('the first attempt');
        if (!earlier.some(({ attempt }) => attempt === 2)) await new Promise(() => {});
        if (end === 'throws') throw new BrokenError('the last attempt');
      },
      { retry: { ...fast, maximumAttempts: 2 } },
    ),
    /** Keeps the event loop to itself, as a long computation does. */
    block: defineJob('Block', async (ms: number) => {
      await note(ms);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    }),
    blockForever: defineJob('BlockForever', async (value: unknown) => {
      await note(value);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    }),
    exhaustMemory: defineJob('ExhaustMemory', async (value: unknown) => {
      await note(value);
      const hoard: number[][] = [];
      // In large pieces: with small ones the collector fights for seconds before it gives up.
      for (;;) hoard.push(Array.from({ length: 5_000_000 }, (_, i) => i + 0.5));
    }),
    /** Takes a while, then fails in its first attempts. */
    failLate: defineJob(
      'FailLate',
      async (value: unknown, times: number, ms: number) => {
        await note(value);
        await delay(ms);
        if (currentJob().attempt <= times) throw new BrokenError(`${String(value)} failed`);
      },
      { retry: { ...fast, maximumAttempts: 3 } },
    ),
    /** Adds a job to its batch, and is killed the first time, when that is committed and nobody was told. */
    addsAndDies: defineJob('AddsAndDies', async (value: unknown, taskQueue?: string) => {
      const isFirst = (await notes()).length === 0;
      await note(value);
      if (!isFirst) return;
      await currentBatch().jobs(async () => {
        await jobs.added.set(taskQueue ? { taskQueue } : {}).performAsync(`added by ${String(value)}`);
        process.kill(process.pid, 'SIGKILL');
      });
    }),
    added: defineJob('Added', (value: unknown) => note(value)),
    /** What only the newer release has. */
    newest: defineJob('Newest', (value: unknown) => note(value)),
  };

  const callbacks = {
    newestCallback: defineCallback(
      'NewestCallback',
      (batchId, { attempt }) =>
        ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null }),
      { retry: { ...fast, maximumAttempts: 2 } },
    ),
  };
  return { jobs, callbacks };
}
