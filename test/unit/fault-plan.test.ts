import { expect, test } from 'vitest';
import { limitsOf } from '../faults/batch-options.ts';
import { blocksOf, jobNameOf, jobOf, workflowsOf } from '../faults/plan-batch.ts';
import { endOfWorkflow } from '../faults/plan-workflows.ts';
import { describePlan, FAULT_KINDS, planRound } from '../faults/plan.ts';

test('the same seed gives the same round, and another seed another one', () => {
  for (let seed = 1; seed <= 50; seed++) {
    expect(planRound(seed)).toEqual(planRound(seed));
    expect(planRound(seed)).not.toEqual({ ...planRound(seed + 1), seed });
  }
});

test('every kind of fault happens in a few hundred rounds, and every round has one', () => {
  const rounds = Array.from({ length: 300 }, (_, index) => planRound(index));
  const kinds = new Set(rounds.flatMap(({ faults }) => faults.map(({ fault }) => fault.kind)));
  expect([...kinds].toSorted()).toEqual([...FAULT_KINDS].toSorted());
  expect(rounds.filter(({ faults }) => faults.length === 0)).toEqual([]);
});

test('rounds have workflows of all kinds beside the jobs, and batches without any', () => {
  const batches = Array.from({ length: 300 }, (_, index) => planRound(index)).flatMap(
    (round) => round.batches,
  );
  const workflows = batches.flatMap((batch) => batch.workflows);
  const share = batches.filter((batch) => batch.workflows.length > 0).length / batches.length;
  expect(share).toBeGreaterThan(0.15);
  expect(share).toBeLessThan(0.35);
  expect(Math.max(...batches.map((batch) => batch.workflows.length))).toBe(15);
  const kinds = workflows.map(({ task, by, isAwaited, killsEnqueuer }) => [
    endOfWorkflow(task).end,
    endOfWorkflow(task).errorClass,
    task.continuations > 0 && 'continues',
    task.children > 0 && 'has children',
    task.failures === 1 && 'is retried',
    by,
    isAwaited,
    killsEnqueuer,
  ]);
  expect(new Set(kinds.flat())).toEqual(
    new Set<unknown>([
      'complete',
      'failed',
      null,
      'HopelessError',
      'FlakyError',
      'continues',
      'has children',
      'is retried',
      'start',
      'signalWithStart',
      true,
      false,
      'before',
      'after',
    ]),
  );
});

test('a workflow is started by one block of its batch, unless the block throws before', () => {
  const batches = Array.from({ length: 300 }, (_, index) => planRound(index)).flatMap(
    (round) => round.batches,
  );
  for (const batch of batches) {
    const started = blocksOf(batch).flatMap((block) => workflowsOf(batch, block));
    expect(new Set(started).size).toBe(started.length);
    if (batch.enqueuer.throwsAt === null) expect(new Set(started)).toEqual(new Set(batch.workflows));
  }
});

test('an end of a workflow comes once the batch has some that have started', () => {
  const rounds = Array.from({ length: 300 }, (_, index) => planRound(index));
  for (const { faults, batches } of rounds) {
    for (const { when, fault } of faults) {
      if (fault.kind !== 'end-workflow') continue;
      const { workflows } = batches[fault.batch]!;
      expect(when).toEqual({ batch: fault.batch, acted: expect.any(Number) as number });
      expect((when as { acted: number }).acted).toBeLessThanOrEqual(workflows.length);
    }
  }
});

test('a batch that has a limit for a name has it in its options, and jobs of that name', () => {
  const batches = Array.from({ length: 300 }, (_, index) => planRound(index)).flatMap(
    (round) => round.batches,
  );
  const limited = batches.filter((batch) => limitsOf(batch).jobLimits !== undefined);
  expect(limited.length).toBeGreaterThan(50);
  for (const batch of limited) {
    expect(batch.share.side).toBeGreaterThan(0);
    expect(Object.keys(limitsOf(batch).jobLimits!)).toEqual([jobNameOf(batch, true)]);
  }
});

test('what a round is said to be names its workflows and limits', () => {
  const text = Array.from({ length: 100 }, (_, index) => describePlan(planRound(index)).join('\n')).join(
    '\n',
  );
  expect(text).toMatch(/ 15 workflows \(\d+ fail, \d+ are retried, /);
  expect(text).toMatch(/of the second name \d+ at once/);
  expect(text).toMatch(/of the second name [\d.]+ a second/);
  expect(text).toMatch(
    /fault: end-workflow \{"batch":\d,"how":"terminate"\} when \{"batch":\d,"acted":\d+\}/,
  );
});

test('a round without faults can be asked for', () => {
  expect(planRound(7, []).faults).toEqual([]);
});

test('what a job does follows from its batch and its index alone', () => {
  const [batch] = planRound(3).batches;
  expect(jobOf(batch!, 0)).toEqual(jobOf(batch!, 0));
});
