import type {
  ActivityClientInterceptor,
  ActivityHandle,
  ActivityStartInput,
  ClientInterceptors,
  Next,
  ScheduleClientInterceptor,
  WorkflowClientInterceptor,
  WorkflowSignalWithStartInput,
  WorkflowStartInput,
  WorkflowStartOutput,
  WorkflowStartUpdateWithStartInput,
  WorkflowStartUpdateWithStartOutput,
} from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { MARK, type ActivityMark, type Mark } from '../../workflows/names.ts';
import type { RequestedStart } from '../client/enrollment.ts';
import { currentEnrollment } from '../client/enrollment-context.ts';
import { NotEnrollableError } from '../errors.ts';
import { argsJsonOf } from './workflow-args.ts';

export interface ClientInterceptorOptions {
  /** That of the client. @default 'default' */
  readonly namespace?: string;
}

type StartOptions = WorkflowStartInput['options'];
type NextOf<Name extends keyof WorkflowClientInterceptor> = Next<WorkflowClientInterceptor, Name>;

/**
 * What `BatchPlugin` gives to a client, for clients that are put together by hand. Put them first: an interceptor that
 * comes later and refuses a start then has the last word.
 *
 * @example
 * const { workflow, schedule, activity } = batchClientInterceptors({ namespace });
 * new Client({ connection, namespace, interceptors: { workflow: [...workflow, dedupe], schedule, activity } });
 */
export function batchClientInterceptors({ namespace = 'default' }: ClientInterceptorOptions = {}) {
  return {
    workflow: [new EnrollingInterceptor(namespace)],
    schedule: [refuseSchedule],
    activity: [new EnrollingActivityInterceptor(namespace)],
  } satisfies ClientInterceptors;
}

/** Whether these are among the interceptors. */
export function hasEnrolling(interceptors: readonly object[]): boolean {
  return interceptors.some((interceptor) => BRAND in interceptor);
}

/** Tells our interceptor from others, also from another copy of this package. */
const BRAND = Symbol.for('temporal-batch-jobs:enrolling');

/** Makes jobs of the workflows that its client starts inside an enrolment block. */
class EnrollingInterceptor implements WorkflowClientInterceptor {
  readonly [BRAND] = true;
  readonly #namespace: string;

  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  async startWithDetails(
    input: WorkflowStartInput,
    next: NextOf<'startWithDetails'>,
  ): Promise<WorkflowStartOutput> {
    const enrollment = currentEnrollment();
    if (!enrollment) return next(input);
    const { workflowType, options } = input;
    refuseEndless(enrollment.batchId, options);
    return enrollment.startExecution({
      ...this.#startOf(workflowType, options, options.workflowIdConflictPolicy === 'USE_EXISTING'),
      hasUpdate: false,
      send: () => next({ ...input, options: marked(options, enrollment.batchId) }),
      runIdOf: ({ runId }) => runId,
    });
  }

  async signalWithStart(
    input: WorkflowSignalWithStartInput,
    next: NextOf<'signalWithStart'>,
  ): Promise<string> {
    const enrollment = currentEnrollment();
    if (!enrollment) return next(input);
    const { workflowType, options } = input;
    refuseEndless(enrollment.batchId, options);
    return enrollment.startExecution({
      ...this.#startOf(workflowType, options, true),
      hasUpdate: false,
      send: () => next({ ...input, options: marked(options, enrollment.batchId) }),
      runIdOf: (runId) => runId,
    });
  }

  async startUpdateWithStart(
    input: WorkflowStartUpdateWithStartInput,
    next: NextOf<'startUpdateWithStart'>,
  ): Promise<WorkflowStartUpdateWithStartOutput> {
    const enrollment = currentEnrollment();
    if (!enrollment) return next(input);
    const { workflowType, workflowStartOptions: options } = input;
    refuseEndless(enrollment.batchId, options);
    return enrollment.startExecution({
      ...this.#startOf(workflowType, options, options.workflowIdConflictPolicy === 'USE_EXISTING'),
      hasUpdate: true,
      send: () => next({ ...input, workflowStartOptions: marked(options, enrollment.batchId) }),
      runIdOf: ({ workflowExecution }) => workflowExecution.runId!,
    });
  }

  #startOf(
    workflowType: string,
    options: StartOptions,
    mayAttach: boolean,
  ): Omit<RequestedStart<unknown>, 'hasUpdate' | 'send' | 'runIdOf'> {
    return {
      kind: 'workflow',
      id: options.workflowId,
      type: workflowType,
      argsJson: argsJsonOf(options.args),
      mayAttach,
      namespace: this.#namespace,
    };
  }
}

/**
 * Each run of a workflow with a cron schedule is followed by another one, whatever its outcome: as a job it would never
 * end. A start that may attach to a running workflow is judged by its own options alone.
 *
 * @throws {@link NotEnrollableError}
 */
function refuseEndless(batchId: string, { workflowId, cronSchedule }: StartOptions): void {
  if (!cronSchedule) return;
  throw new NotEnrollableError(
    batchId,
    `Workflow "${workflowId}" with the cronSchedule "${cronSchedule}", which never ends,`,
  );
}

function marked(options: StartOptions, batchId: string): StartOptions {
  const { memo, workflowId } = options;
  return { ...options, memo: { ...memo, [MARK]: { batchId, workflowId } satisfies Mark } };
}

/** Makes jobs of the activities without a workflow that its client starts inside an enrolment block. */
class EnrollingActivityInterceptor implements ActivityClientInterceptor {
  readonly #namespace: string;

  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  async start(
    input: ActivityStartInput,
    next: Next<ActivityClientInterceptor, 'start'>,
  ): Promise<ActivityHandle> {
    const enrollment = currentEnrollment();
    if (!enrollment) return next(input);
    const { activityType, options, headers } = input;
    const { batchId } = enrollment;
    // An activity has no memo. Its headers are kept with it, too.
    const mark = defaultPayloadConverter.toPayload({
      batchId,
      activityId: options.id,
    } satisfies ActivityMark);
    return enrollment.startExecution({
      kind: 'activity',
      id: options.id,
      type: activityType,
      argsJson: argsJsonOf(options.args ?? []),
      mayAttach: options.idConflictPolicy === 'USE_EXISTING',
      namespace: this.#namespace,
      hasUpdate: false,
      send: () => next({ ...input, headers: { ...headers, [MARK]: mark } }),
      runIdOf: ({ runId }) => runId!,
    });
  }
}

/** Its starts would happen outside of the block, at any time. */
const refuseSchedule: ScheduleClientInterceptor = {
  create: async (input, next) => {
    const enrollment = currentEnrollment();
    if (enrollment)
      throw new NotEnrollableError(enrollment.batchId, `Schedule "${input.options.scheduleId}"`);
    return next(input);
  },
};
