import { describe, expect, test } from 'vitest';
import { resolveStep } from '../../src/client/step-options.ts';
import type { ExecuteBatchOptions } from '../../workflows/index.ts';
import { refuseStep, stepInputOf } from '../../workflows/step-input.ts';

const OPTIONS: ExecuteBatchOptions = { description: 'A', jobs: [{ name: 'Record', args: [1] }] };
const given = (options: object) => ({ ...OPTIONS, ...options }) as ExecuteBatchOptions;
/** What arrives at the worker. */
const arrived = (options: ExecuteBatchOptions) =>
  JSON.parse(JSON.stringify(stepInputOf(options, 'b'))) as ReturnType<typeof stepInputOf>;

describe('options of a step', () => {
  test.each([
    { title: 'what is undefined', options: given({ deadline: undefined, context: undefined }) },
    { title: 'a deadline that is a Date', options: given({ deadline: new Date() }) },
    { title: 'no deadline', options: given({ deadline: null }) },
    { title: 'what only the worker can judge', options: given({ failWhenFailed: 'some', unknown: 1 }) },
  ])('may have $title', ({ options }) => {
    expect(refuseStep(options)).toBeUndefined();
  });

  test.each([
    { options: undefined, code: 'INVALID_OPTION', about: /^options/ },
    { options: [], code: 'INVALID_OPTION', about: /^options/ },
    { options: given({ jobs: undefined }), code: 'INVALID_OPTION', about: /^jobs/ },
    { options: given({ jobs: [] }), code: 'INVALID_OPTION', about: /^jobs/ },
    { options: given({ id: 7 }), code: 'INVALID_OPTION', about: /^id/ },
    { options: given({ id: 'x'.repeat(129) }), code: 'INVALID_OPTION', about: /^id/ },
    { options: given({ taskQueue: ' ' }), code: 'INVALID_OPTION', about: /^taskQueue/ },
    { options: given({ description: 7 }), code: 'INVALID_OPTION', about: /^description/ },
    {
      options: given({ openTimeout: 1n }),
      code: 'INVALID_OPTION',
      about: /^openTimeout is of the type bigint/,
    },
    { options: given({ context: { at: new Date() } }), code: 'INVALID_ARGUMENTS', about: /^context\.at/ },
    {
      options: given({ jobs: [{ name: 'Record', args: [{ a: undefined }] }] }),
      code: 'INVALID_ARGUMENTS',
      about: /^jobs\[0\]\.args\[0\]\.a is/,
    },
    {
      options: given({ jobs: [{ name: 'Record', args: ['é'.repeat(1_000_001)] }] }),
      code: 'INVALID_OPTION',
      about: /at most 2000000 bytes/,
    },
  ])('are refused in the workflow: $about', ({ options, code, about }) => {
    const refusal = refuseStep(options as ExecuteBatchOptions);
    expect(refusal).toMatchObject({ code, message: expect.stringMatching(about) });
  });
});

describe('what arrives at the worker', () => {
  test('is a batch as create would make it, and says who waits for it', () => {
    const { batch, jobs } = resolveStep(arrived(given({ failWhenFailed: 'all', taskQueue: 'q' })), 'waits');
    expect(batch).toMatchObject({
      id: 'b',
      description: 'A',
      settings: { failWhenFailed: 'all', autoSeal: true, notify: 'waits' },
      definition: { failWhenFailed: 'all', step: 'waits' },
    });
    expect(batch.definition).not.toHaveProperty('notify');
    expect(jobs).toEqual(OPTIONS.jobs);
  });

  test.each([
    { title: 'a Date', deadline: new Date(Date.now() + 60_000) },
    { title: 'a Date that is over, of a batch that may exist', deadline: new Date(0) },
    { title: 'none', deadline: null },
  ])('has the same deadline: $title', ({ deadline }) => {
    const { batch } = resolveStep(arrived(given({ deadline })), 'waits');
    expect(batch.settings.deadlineAt).toBe(deadline && deadline.getTime());
  });

  test('has the same definition each time, so that it can be made again', () => {
    const input = arrived(given({ deadline: '1 hour', alertAfterIdle: '5 minutes' }));
    expect(resolveStep(input, 'waits').batch.definition).toEqual(
      resolveStep(input, 'waits').batch.definition,
    );
  });

  test.each([
    { options: given({ deadline: new Date(Number.NaN) }), about: /^deadline/ },
    { options: given({ autoSeal: true }), about: /^options\.autoSeal/ },
    { options: given({ callbacks: {} }), about: /^options\.callbacks/ },
    { options: given({ jobs: [null] }), about: /^jobs\[0\] must be an object/ },
    { options: given({ jobs: [{ name: '', args: [] }] }), about: /^jobs\[0\]\.name/ },
    { options: given({ jobs: [{ name: 'A', args: 1 }] }), about: /^jobs\[0\]\.args must be an array/ },
    { options: given({ jobs: [{ name: 'A', args: [], key: 'k' }] }), about: /^jobs\[0\]\.key/ },
    { options: given({ jobs: [{ name: 'A', args: ['\0'] }] }), about: /^jobs\[0\]\.args\[0\] has a NUL/ },
    { options: given({ taskQeue: 'q' }), about: /Did you mean "taskQueue"/ },
  ])('is refused there: $about', ({ options, about }) => {
    expect(() => resolveStep(arrived(options), 'waits')).toThrow(about);
  });
});
