/**
 * The rules of what is said of workflows that have ended: ids that wait to be looked up, and how long. What is said is
 * a hint, which may be lost, so that there may be a limit to them.
 */
export interface EndedWorkflows {
  readonly workflowIds: readonly string[];
}

export const NONE_ENDED: EndedWorkflows = { workflowIds: [] };

/** More than that are found by looking. */
const MAX_KEPT = 5_000;
/** Ids of one look-up. */
const MAX_LOOKED_UP = 500;
/** Of each workflow that has not ended, so that a large batch looks at many at once, and the last one is seen soon. */
const GAP_PER_JOB_MS = 2;
const MAX_GAP_MS = 1_000;

/** Signals come from whoever may send them: what makes no sense is dropped. */
export function workflowsEnded(
  { workflowIds }: EndedWorkflows,
  message: { readonly workflowIds: readonly unknown[] },
): EndedWorkflows {
  if (!Array.isArray(message.workflowIds)) return { workflowIds };
  const ids = message.workflowIds.filter((id): id is string => typeof id === 'string' && id !== '');
  return { workflowIds: [...new Set([...workflowIds, ...ids])].slice(0, MAX_KEPT) };
}

/** Those of the next look-up, and the rest. */
export function takeEnded({ workflowIds }: EndedWorkflows): {
  taken: readonly string[];
  rest: EndedWorkflows;
} {
  return {
    taken: workflowIds.slice(0, MAX_LOOKED_UP),
    rest: { workflowIds: workflowIds.slice(MAX_LOOKED_UP) },
  };
}

/** How long others are waited for, to be looked up with them. @param pending jobs of the batch that have not ended */
export function gatherMs(pending: number): number {
  return Math.min(MAX_GAP_MS, pending * GAP_PER_JOB_MS);
}
