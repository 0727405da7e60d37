import { expectTypeOf, test } from 'vitest';
import { defineJob } from '../../src/index.ts';
test('defineJob keeps argument types', () => {
  const job = defineJob('X', async (a: number) => {
    a;
  });
  expectTypeOf(job.performAsync).parameters.toEqualTypeOf<[number]>();
  expectTypeOf(job.performAsync).parameters.toEqualTypeOf<[string]>();
  // @ts-expect-error
  job.performAsync(1);
});
