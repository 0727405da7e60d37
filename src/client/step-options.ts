import type { StepInput, StepJob } from '../../activities/contract.ts';
import { InvalidOptionError } from '../errors.ts';
import { toExactJson } from '../json-value.ts';
import { assertKnownKeys, assertName, assertPlainObject } from '../options.ts';
import { BATCH_KEYS, resolveBatchOptions, type ResolvedBatchOptions } from './batch-options.ts';

/** Names of the options of `executeBatch`. */
const STEP_KEYS = [
  ...BATCH_KEYS.filter((key) => key !== 'autoSeal' && key !== 'callbacks'),
  'jobs',
  'taskQueue',
];

/**
 * The batch and the jobs of a step, checked before anything is made of them: a job that is refused in the block would
 * leave a batch behind.
 *
 * @param notify id of the workflow that waits for the batch. It is a part of what the batch is: the step takes no batch
 * that somebody else created under the id
 * @throws {@link InvalidOptionError} @throws {@link InvalidArgumentsError}
 */
export function resolveStep(
  { batchId, deadlineAt, jobs, options }: StepInput,
  notify: string,
): { batch: ResolvedBatchOptions; jobs: readonly StepJob[] } {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, STEP_KEYS);
  // Of an invalid Date, null is what is left.
  const deadline = deadlineAt === undefined ? {} : { deadline: new Date(deadlineAt ?? Number.NaN) };
  const batch = resolveBatchOptions({ ...options, ...deadline, id: batchId }, () => batchId);
  if (!Array.isArray(jobs) || jobs.length === 0) {
    throw new InvalidOptionError('jobs', 'an array of at least one { name, args }', jobs);
  }
  jobs.forEach(assertStepJob);
  return {
    batch: {
      ...batch,
      definition: { ...batch.definition, step: notify },
      settings: { ...batch.settings, notify },
    },
    jobs,
  };
}

function assertStepJob(job: unknown, index: number): asserts job is StepJob {
  const option = `jobs[${index}]`;
  assertPlainObject(option, job);
  assertKnownKeys(option, job, ['name', 'args']);
  const { name, args } = job as Partial<StepJob>;
  assertName(`${option}.name`, name);
  if (!Array.isArray(args)) throw new InvalidOptionError(`${option}.args`, 'an array', args);
  toExactJson(`${option}.args`, args);
}
