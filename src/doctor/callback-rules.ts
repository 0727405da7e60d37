import { callbackSummary } from '../../workflows/details.ts';
import type { CallbackRow } from '../database/rows.ts';
import {
  EVENT_ORDER,
  isMoving,
  type ActivityFacts,
  type Facts,
  type MirrorFacts,
  type TemporalFacts,
} from './facts.ts';
import type { Finding } from './findings.ts';
import { counted, inTime, oneLine, quote, span } from './words.ts';

/** Callbacks that fail, that no worker knows, or that run for long. One that no worker takes is its queue's finding. */
export function callbackFindings(facts: Facts, { batch, parts }: TemporalFacts): Finding[] {
  return [batch, ...parts].flatMap(({ workflowId, activities }) =>
    activities
      .filter(({ type }) => type === 'runCallback')
      .flatMap((activity) => callbackFinding(facts, activity, rowOf(facts.mirror, workflowId, activity))),
  );
}

function callbackFinding(facts: Facts, activity: ActivityFacts, row: CallbackRow | undefined): Finding[] {
  const { now } = facts;
  const { failure, state, startedAt, scheduledAt, summary } = activity;
  const name = row ? `${quote(row.callback)} on ${row.event}` : (summary ?? 'of the batch');
  const details = {
    event: row?.event ?? null,
    callback: row?.callback ?? null,
    attempts: row?.attempts ?? activity.attempt,
    errorClass: failure?.type ?? null,
    errorMessage: failure?.message ?? null,
  };
  const next =
    state === 'started' ? 'It runs again now' : `The next attempt is due ${inTime(scheduledAt - now)}`;
  // The finding on workers of another schema says it: no attempt of the callback was made.
  if (failure?.type === 'DATABASE_MISMATCH') return [];
  if (failure?.type === 'UnknownCallbackError') {
    return [
      {
        code: 'CALLBACK_UNKNOWN',
        severity: 'attention',
        message: `No worker that was asked knows the callback ${name}.`,
        advice:
          'Give it to createBatchWorker({ callbacks }) of a worker on its task queue. It is asked for again every few seconds, and no attempt is used up.',
        since: row?.scheduled_at?.getTime() ?? null,
        details,
      },
    ];
  }
  if (failure) {
    // The row was read a moment before Temporal was asked.
    const attempts = Math.max(1, details.attempts);
    return [
      {
        code: 'CALLBACK_FAILING',
        severity: 'attention',
        message: `The callback ${name} failed ${counted(attempts, 'attempt')}: ${oneLine(`${failure.type}: ${failure.message}`)}`,
        advice: `${next}. The batch is over when it returns or its retry policy ends.`,
        since: row?.scheduled_at?.getTime() ?? null,
        details: { ...details, attempts, nextAttemptAt: state === 'started' ? null : scheduledAt },
      },
    ];
  }
  if (state !== 'started' || startedAt === undefined || isMoving(facts)) return [];
  return [
    {
      code: 'CALLBACK_RUNNING',
      severity: 'waiting',
      message: `The callback ${name} runs for ${span(now - startedAt)}${activity.worker ? ` in worker ${activity.worker}` : ''}.`,
      advice: 'The batch is over when it returns. Its startToCloseTimeout ends it if it hangs.',
      since: startedAt,
      details: { ...details, worker: activity.worker ?? null, heartbeatAt: activity.heartbeatAt ?? null },
    },
  ];
}

/**
 * The activity's summary names its callback. Where it cannot be read: a callback that a workflow of its own runs is
 * named by that, else it is the first that has begun and not ended.
 */
function rowOf(
  mirror: MirrorFacts | undefined,
  workflowId: string,
  { summary }: ActivityFacts,
): CallbackRow | undefined {
  const callbacks = mirror?.callbacks ?? [];
  const summarized = callbacks.find((row) => callbackSummary(row) === summary);
  if (summarized) return summarized;
  const named = EVENT_ORDER.find((event) => workflowId.endsWith(`/callback/${event}`));
  const begun = (event: string) =>
    callbacks.find((row) => row.event === event && (row.status === 'scheduled' || row.status === 'running'));
  if (named) return callbacks.find(({ event }) => event === named);
  return EVENT_ORDER.map(begun).find((row) => row !== undefined);
}
