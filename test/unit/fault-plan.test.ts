import { expect, test } from 'vitest';
import { jobOf } from '../faults/plan-batch.ts';
import { FAULT_KINDS, planRound } from '../faults/plan.ts';

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

test('a round without faults can be asked for', () => {
  expect(planRound(7, []).faults).toEqual([]);
});

test('what a job does follows from its batch and its index alone', () => {
  const [batch] = planRound(3).batches;
  expect(jobOf(batch!, 0)).toEqual(jobOf(batch!, 0));
});
