import type { StepInput } from '../activities/contract.ts';
import type { Refusal } from './batch-state.ts';
import { findInexact, isPlain, type Inexact } from './exact-json.ts';
import type { ExecuteBatchOptions } from './execute-batch.ts';
import { isBatchId } from './names.ts';

/** A server refuses payloads of 2 MiB, and fails the workflow that sends one. */
const MAX_INPUT_BYTES = 2_000_000;
const MAX_NAME_LENGTH = 200;

/**
 * Whether a workflow can hand these options on to a worker, which checks them as `create` does: here is only what would
 * not arrive there as it is, or break the command that starts the step.
 */
export function refuseStep(options: ExecuteBatchOptions): Refusal | undefined {
  if (typeof options !== 'object' || options === null || !isPlain(options)) {
    return invalid('options must be a plain object.');
  }
  const { context, deadline, description, id, jobs, taskQueue, ...others } = options;
  if (typeof description !== 'string') return invalid('description must be a string.');
  if (id !== undefined && !isBatchId(id)) {
    return invalid(`id must be 1 to 128 letters, digits or _ . : -, but was ${String(id).slice(0, 80)}.`);
  }
  if (taskQueue !== undefined && !isName(taskQueue)) {
    return invalid(`taskQueue must be a non-empty string of at most ${MAX_NAME_LENGTH} characters.`);
  }
  if (!Array.isArray(jobs) || jobs.length === 0) {
    return invalid('jobs must be an array of at least one { name, args }.');
  }
  const ofJob = findInexact('jobs', jobs, MAX_INPUT_BYTES) ?? given('context', context);
  if (ofJob) return refusalOf('INVALID_ARGUMENTS', ofJob);
  const rest = { ...others, ...(deadline instanceof Date ? {} : { deadline }) };
  for (const [name, value] of Object.entries(rest)) {
    const ofOption = given(name, value);
    if (ofOption) return refusalOf('INVALID_OPTION', ofOption);
  }
  const bytes = new TextEncoder().encode(JSON.stringify({ ...others, context, description, jobs })).length;
  if (bytes > MAX_INPUT_BYTES) {
    return invalid(
      `jobs must take at most ${MAX_INPUT_BYTES} bytes of JSON, with the other options, but take ${bytes}. ` +
        'Pass one job, whose handler adds the rest by currentBatch().jobs(...).',
    );
  }
  return undefined;
}

/** What the step is started with. JSON has no dates: a deadline that is one travels as a number. */
export function stepInputOf(
  { deadline, id: _id, jobs, taskQueue: _taskQueue, ...options }: ExecuteBatchOptions,
  batchId: string,
): StepInput {
  if (deadline === undefined) return { batchId, jobs, options };
  return deadline instanceof Date
    ? { batchId, jobs, options, deadlineAt: deadline.getTime() }
    : { batchId, jobs, options: { ...options, deadline } };
}

/** An option that is undefined is not given. */
function given(name: string, value: unknown): Inexact | undefined {
  return value === undefined ? undefined : findInexact(name, value, MAX_INPUT_BYTES);
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value.trim() !== '' && value.length <= MAX_NAME_LENGTH;
}

function invalid(message: string): Refusal {
  return { code: 'INVALID_OPTION', message };
}

function refusalOf(code: string, { path, problem }: Inexact): Refusal {
  return { code, message: `${path} ${problem}.` };
}
