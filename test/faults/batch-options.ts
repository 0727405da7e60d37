import type { BatchOptions } from '../../src/index.ts';
import { jobNameOf, type BatchPlan } from './plan-batch.ts';

/** What a batch is created with, by whoever creates it. */
export function optionsOf(plan: BatchPlan, batchId: string): BatchOptions {
  return {
    id: batchId,
    description: `Batch ${plan.index} of a round with faults`,
    context: { ...plan.callbacks },
    ...plan.policy,
    ...(plan.deadlineMs === null ? {} : { deadline: plan.deadlineMs }),
    ...(plan.alertAfterIdleMs === null ? {} : { alertAfterIdle: plan.alertAfterIdleMs }),
    ...limitsOf(plan),
    ...(plan.workflowCheckMs === null ? {} : { workflowCheckInterval: plan.workflowCheckMs }),
    autoSeal: plan.enqueuer.openEnded === null,
    enrollmentTimeout: plan.enrollmentTimeoutMs,
    // For a batch whose enqueuer was lost before its block, or whose blocks nobody seals. Longer than two outages that
    // hold up an enqueuer before its block.
    openTimeout: '60 seconds',
    ...(plan.continueAsNewAfterEvents === null
      ? {}
      : { continueAsNewAfterEvents: plan.continueAsNewAfterEvents }),
  };
}

/** The limits of a batch, as its options have them. */
export function limitsOf(plan: BatchPlan) {
  const { side, ...limits } = plan.limits;
  const hasSide = Object.values(side).some((limit) => limit !== null);
  return { ...limits, ...(hasSide ? { jobLimits: { [jobNameOf(plan, true)]: side } } : {}) };
}
