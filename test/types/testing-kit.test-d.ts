import { expectTypeOf, test } from 'vitest';
import { defineJob, type Batch, type BatchClient, type JobRecord } from '../../src/index.ts';
import {
  assertEnrolled,
  createInlineBatches,
  enrolledJobs,
  forceOutcome,
  performJob,
  type InlineBatches,
} from '../../src/testing/index.ts';

declare const batch: Batch;
const score = defineJob('Score', async (entryId: number, _note?: string) => ({ score: entryId }));

test('inline batches are a BatchClient', () => {
  expectTypeOf(createInlineBatches).returns.toEqualTypeOf<InlineBatches>();
  expectTypeOf<InlineBatches>().toExtend<BatchClient>();
});

test('performJob has the types of the job', () => {
  expectTypeOf(performJob(score, [1])).resolves.toEqualTypeOf<{ score: number }>();
  // @ts-expect-error -- the argument is a number
  void performJob(score, ['1']);
});

test('forceOutcome gives the same job, and is told typed arguments', () => {
  const forced = forceOutcome(score, ({ args: [entryId] }) => {
    expectTypeOf(entryId).toEqualTypeOf<number>();
    return { result: { score: 1 } };
  });
  expectTypeOf(forced).toEqualTypeOf(score);
  // @ts-expect-error -- that is not what its handler returns
  forceOutcome(score, () => ({ result: 'x' }));
});

test('assertions have the types of the job', () => {
  expectTypeOf(enrolledJobs(batch)).resolves.toEqualTypeOf<JobRecord[]>();
  void assertEnrolled(batch, score, [1]);
  // @ts-expect-error -- the argument is a number
  void assertEnrolled(batch, score, ['1']);
});
