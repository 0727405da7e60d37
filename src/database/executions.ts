/** What runs at Temporal by itself, and can be a job: a workflow, or an activity that belongs to none. */
export type ExecutionKind = 'workflow' | 'activity';

/** A workflow or an activity. The ids of the two have nothing to do with each other. */
export interface Execution {
  readonly kind: ExecutionKind;
  readonly id: string;
}

/** Of the job that an execution is. */
export function executionKey({ kind, id }: Execution): string {
  return `${kind}:${id}`;
}

/** JSON text of its `workflow_id` and its `activity_id`, one of which is null. */
export function idColumns({ kind, id }: Execution): string {
  return kind === 'workflow' ? `${JSON.stringify(id)},null` : `null,${JSON.stringify(id)}`;
}
