import { workflowInfo } from '@temporalio/workflow';
import { REPORT_INTERVAL_MS } from './steering.ts';
import { waitMs } from './timeouts.ts';

/**
 * How long the history of a workflow is, and what follows from that. A workflow with a long history continues as new as
 * soon as nothing of its own is in flight. One slow job must not hold up the others until then, so a long history may
 * grow until it is full, which is far from what Temporal allows (51,200 events or 50 MB, then it ends the workflow).
 */
const FULL_EVENTS = 25_000;
const FULL_BYTES = 25 * 1024 * 1024;
/** The interval of reports doubles so often while a history grows from long to full: up to 64 s. */
const DOUBLINGS = 6;

/** Whether the workflow should continue as new. */
export function isHistoryLong(maxEvents: number): boolean {
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  return continueAsNewSuggested || historyLength > maxEvents;
}

/** Whether nothing may be added to it that can wait. */
export function isHistoryFull(): boolean {
  const { historyLength, historySize } = workflowInfo();
  return historyLength > FULL_EVENTS || historySize > FULL_BYTES;
}

/** Whether a chunk that was dispatched then takes so long that the others are not to wait for it. */
export function isStraggling(dispatchedAt: number): boolean {
  return Date.now() - dispatchedAt >= waitMs('drain');
}

/** How often runners may report, so that the history lasts for hours when it is long. */
export function reportIntervalMs(maxEvents: number): number {
  const { historyLength, historySize } = workflowInfo();
  const byLength = (historyLength - maxEvents) / (FULL_EVENTS - maxEvents);
  const part = Math.min(1, Math.max(0, byLength, historySize / FULL_BYTES));
  return REPORT_INTERVAL_MS * 2 ** Math.floor(part * DOUBLINGS);
}
