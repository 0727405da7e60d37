import type {
  ActivityClientInterceptor,
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
import { currentEnrollment } from '../client/enrollment-context.ts';
import type { WorkflowStart } from '../database/starts.ts';
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
    activity: [refuseActivity],
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
    return enrollment.startWorkflow({
      ...this.#startOf(workflowType, options, options.workflowIdConflictPolicy === 'USE_EXISTING'),
      hasUpdate: false,
      send: (memo) => next({ ...input, options: withMemo(options, memo) }),
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
    return enrollment.startWorkflow({
      ...this.#startOf(workflowType, options, true),
      hasUpdate: false,
      send: (memo) => next({ ...input, options: withMemo(options, memo) }),
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
    return enrollment.startWorkflow({
      ...this.#startOf(workflowType, options, options.workflowIdConflictPolicy === 'USE_EXISTING'),
      hasUpdate: true,
      send: (memo) => next({ ...input, workflowStartOptions: withMemo(options, memo) }),
      runIdOf: ({ workflowExecution }) => workflowExecution.runId!,
    });
  }

  #startOf(
    workflowType: string,
    options: StartOptions,
    mayAttach: boolean,
  ): WorkflowStart & { namespace: string } {
    return {
      workflowId: options.workflowId,
      workflowType,
      argsJson: argsJsonOf(options.args),
      mayAttach,
      namespace: this.#namespace,
    };
  }
}

function withMemo(options: StartOptions, memo: Readonly<Record<string, unknown>>): StartOptions {
  return { ...options, memo: { ...options.memo, ...memo } };
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

const refuseActivity: ActivityClientInterceptor = {
  start: async (input, next) => {
    const enrollment = currentEnrollment();
    if (enrollment)
      throw new NotEnrollableError(enrollment.batchId, `An activity "${input.activityType}" of its own`);
    return next(input);
  },
};
