import { isClosed, quietTimeMs } from '../../workflows/batch-state.ts';
import { batchWorkflowId } from '../client/batch-client.ts';
import { LATE } from '../timeouts.ts';
import { callbackFindings } from './callback-rules.ts';
import { isMoving, isOver, type Facts, type MirrorFacts, type TemporalFacts } from './facts.ts';
import { verdictOf, type Finding } from './findings.ts';
import { jobFindings } from './job-rules.ts';
import { limitFindings } from './limit-rules.ts';
import { counted, inTime, oneLine, quote, span } from './words.ts';
import { workerFindings } from './worker-rules.ts';
import { workflowJobFindings } from './workflow-job-rules.ts';

/** Signs of life come four times in `enrollmentTimeout`: half of it without one is no coincidence. */
const SILENT_PART = 0.5;

/**
 * What a batch waits for: pure rules from facts to findings. The first ones explain the ones behind them, and where
 * one explains all, it is alone.
 */
export function diagnose(facts: Facts): Finding[] {
  const { mirror, temporal } = facts;
  const unreachable = serverFindings(facts);
  const again = temporal ? eventsAgain(temporal) : [];
  if (mirror && isOver(mirror) && again.length === 0)
    return [...rowsGone(mirror), ...over(mirror), ...unreachable];
  const failed = mirror ? failedCallbacks(mirror, again) : [];
  if (!temporal) return withMoving(facts, [...unreachable, ...failed]);
  if (temporal.batch.status !== 'running' && again.length === 0)
    return [...unreachable, ...failed, ...closed(facts, temporal)];
  const findings = withMoving(facts, [
    ...unreachable,
    ...rowMissing(facts),
    ...rowsGone(mirror),
    ...steered(facts),
    ...workerFindings(facts, temporal),
    ...mirrorBehind(facts, temporal),
    ...block(facts, temporal),
    ...failed,
    ...callbackFindings(facts, temporal),
    ...limits(facts, temporal),
    ...jobFindings(facts, temporal),
    ...workflowJobFindings(facts),
  ]);
  return [...payloadsEncoded(temporal), ...(findings.length > 0 ? findings : [unexplained(facts)])];
}

/** Servers that do not answer. */
export function serverFindings(facts: Pick<Facts, 'databaseError' | 'temporalError'>): Finding[] {
  return [...databaseUnreachable(facts), ...temporalUnreachable(facts)];
}

function databaseUnreachable({ databaseError }: Pick<Facts, 'databaseError'>): Finding[] {
  if (databaseError === undefined) return [];
  return [
    {
      code: 'DATABASE_UNREACHABLE',
      severity: 'attention',
      message: `Postgres does not answer: ${oneLine(databaseError)}`,
      advice:
        'Check --database-url (DATABASE_URL) and that it runs. If workers cannot reach it either, batches wait, and go on by themselves.',
      since: null,
      details: { error: databaseError },
    },
  ];
}

function temporalUnreachable({ temporalError }: Pick<Facts, 'temporalError'>): Finding[] {
  if (temporalError === undefined) return [];
  return [
    {
      code: 'TEMPORAL_UNREACHABLE',
      severity: 'attention',
      message: `Temporal does not answer: ${oneLine(temporalError)}`,
      advice:
        'Check --address and --namespace (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, or the profile in temporal.toml). While workers cannot reach it either, nothing moves; batches go on by themselves afterwards.',
      since: null,
      details: { error: temporalError },
    },
  ];
}

function failedCallbacks({ batch, callbacks }: MirrorFacts, again: readonly string[] = []): Finding[] {
  return callbacks
    .filter(({ event, status }) => status === 'failed' && !again.includes(event))
    .map((row) => {
      const { event, callback, attempts, error_class: errorClass, error_message: errorMessage } = row;
      return {
        code: 'CALLBACK_FAILED',
        severity: 'attention',
        message: `The callback ${quote(callback)} on ${event} failed for good after ${counted(attempts, 'attempt')}: ${oneLine(`${errorClass}: ${errorMessage}`)}`,
        advice: `Fix the cause, then \`batch-jobs retry-callback ${batch.id} ${event}\` runs it again.`,
        since: row.finished_at?.getTime() ?? null,
        details: { event, callback, attempts, errorClass, errorMessage },
      };
    });
}

/** Events whose callbacks have a workflow of their own that runs: the batch's may have closed. */
function eventsAgain({ parts }: TemporalFacts): string[] {
  return parts.flatMap(({ workflowId, status }) => {
    const event = /\/callback\/(\w+)$/.exec(workflowId)?.[1];
    return event !== undefined && status === 'running' ? [event] : [];
  });
}

function over(mirror: MirrorFacts): Finding[] {
  const { batch, movedAt } = mirror;
  return [
    ...failedCallbacks(mirror),
    {
      code: 'OVER',
      severity: 'ok',
      message: `The batch is over: it ended ${batch.status}, and its callbacks have ended.`,
      advice: batch.progress.failed > 0 ? `\`batch-jobs failed ${batch.id}\` says why jobs failed.` : '',
      since: movedAt,
      details: { status: batch.status, enrollmentError: batch.enrollmentError },
    },
  ];
}

/** Jobs failed because their rows were gone. */
function rowsGone(mirror: MirrorFacts | undefined): Finding[] {
  const reason = mirror?.batch.failureReason ?? null;
  if (reason === null) return [];
  return [
    {
      code: 'JOB_ROWS_MISSING',
      severity: 'attention',
      message: reason,
      advice:
        'They count as failed, and cannot run without their arguments. Enroll them again, in another batch.',
      since: null,
      details: { reason },
    },
  ];
}

/** Somebody paused the batch, or it was stopped and waits for what still runs. */
function steered({ mirror }: Facts): Finding[] {
  if (!mirror || mirror.batch.settledAt) return [];
  const { pausedAt, stoppedAt, stopReason, progress } = mirror.batch;
  if (stoppedAt) {
    return [
      {
        code: 'STOPPING',
        severity: 'waiting',
        message: `The batch was stopped (${oneLine(stopReason ?? '')}): nothing starts any more, and what runs is asked to end.`,
        advice: 'Nothing: what has not ended when its grace period is over is not waited for.',
        since: stoppedAt.getTime(),
        details: { reason: stopReason },
      },
    ];
  }
  if (!pausedAt) return [];
  return [
    {
      code: 'PAUSED',
      severity: 'attention',
      message: `The batch is paused: of ${counted(progress.pending, 'pending job')} none starts.`,
      advice: `\`batch-jobs resume ${mirror.batch.id}\` goes on, \`batch-jobs cancel ${mirror.batch.id}\` ends it.`,
      since: pausedAt.getTime(),
      details: { pending: progress.pending },
    },
  ];
}

/** Nobody works on the batch any more: that is right if its rows say that it is over, and they do not. */
function closed(
  { batchId, mirror, databaseError }: Facts,
  { batch, address, namespace }: TemporalFacts,
): Finding[] {
  const { status, closedAt, closeReason } = batch;
  if (!mirror && status === 'completed') {
    return [
      {
        code: 'OVER',
        severity: 'ok',
        message:
          'The workflow of the batch has completed' +
          (databaseError === undefined
            ? ', and there is no row: its block was empty, or the row was deleted.'
            : '.'),
        advice: '',
        since: closedAt ?? null,
        details: { status },
      },
    ];
  }
  const isUnknown = status === 'not found';
  const where = `Temporal at ${address}, namespace ${quote(namespace)}`;
  const pending = mirror?.batch.progress.pending;
  return [
    {
      code: 'WORKFLOW_TERMINATED',
      severity: 'attention',
      message: isUnknown
        ? `${where}, knows no workflow ${quote(batchWorkflowId(batchId))}: it was deleted, or this is not the Temporal of the batch.`
        : `The workflow of the batch is ${status}${closeReason ? ` (${oneLine(closeReason)})` : ''}${mirror ? ', and its rows are not over' : ''}.`,
      advice:
        mirror === undefined || isUnknown || mirror.batch.settledAt !== null
          ? [
              `${isUnknown ? 'If address and namespace are right, nothing' : 'Nothing'} will move this batch again, and no callback runs.`,
              leftOver(batchId, pending),
            ].join(' ')
          : `Nothing moves it by itself. \`batch-jobs retry-failed ${batchId}\` runs its unfinished jobs as a new round, \`batch-jobs cancel ${batchId}\` ends it; both run the callbacks.`,
      since: closedAt ?? null,
      details: { status, reason: closeReason ?? null, pending: pending ?? null },
    },
  ];
}

function leftOver(batchId: string, pending: number | undefined): string {
  const jobs = `(await batches.find(${quote(batchId)})).pendingJobs()`;
  if (pending === undefined) return `What is left of its jobs: ${jobs}.`;
  if (pending === 0) return 'All of its jobs are terminal; do by hand what its callbacks should have done.';
  return `Its ${counted(pending, 'pending job')}: ${jobs}. Enrol them in another batch; some may have run.`;
}

function rowMissing({ mirror, databaseError }: Facts): Finding[] {
  if (mirror || databaseError !== undefined) return [];
  return [
    {
      code: 'ROW_MISSING',
      severity: 'attention',
      message: 'The workflow of the batch runs, and this database schema has no row of it.',
      advice:
        'Check --database-url and --schema. If they are right, its worker cannot write to the database yet (see its log), or somebody deleted the row.',
      since: null,
      details: {},
    },
  ];
}

/** What the doctor cannot know then: the state of the batch and its options. */
function payloadsEncoded({ unreadable }: TemporalFacts): Finding[] {
  if (!unreadable) return [];
  const { encoding, error, hasCodec } = unreadable;
  return [
    {
      code: 'PAYLOADS_ENCODED',
      severity: 'waiting',
      message: `The payloads of the batch are encoded as ${encoding}, and the doctor cannot read them${hasCodec ? `: ${oneLine(error)}` : ''}.`,
      advice: hasCodec
        ? 'Check --codec-endpoint and --codec-auth. What follows comes from the rows, and from what Temporal shows in clear text.'
        : 'Pass --codec-endpoint, or set TEMPORAL_CODEC_ENDPOINT, to the codec server of the app. What follows comes from the rows, and from what Temporal shows in clear text.',
      since: null,
      details: { encoding, error },
    },
  ];
}

/** Not while something else keeps jobs from starting: then it is not the limits that they wait for. */
function limits(facts: Facts, temporal: TemporalFacts): Finding[] {
  return [...steered(facts), ...workerFindings(facts, temporal)].length > 0 ? [] : limitFindings(facts);
}

/** The workflow decided something that its worker could not write. */
function mirrorBehind({ mirror, now }: Facts, { state }: TemporalFacts): Finding[] {
  if (!mirror || !state || now - mirror.movedAt < LATE.mirror) return [];
  const { written, enrollment, outcome } = state;
  const what =
    isClosed(state) && !written.sealed
      ? 'that its block is closed'
      : outcome !== null && !written.outcome
        ? `that it is ${outcome}`
        : undefined;
  if (what === undefined) return [];
  return [
    {
      code: 'MIRROR_BEHIND',
      severity: 'attention',
      message: `The batch knows ${what}, and its worker has not been able to write that.`,
      advice:
        'Check that workers reach the database and may write to its tables: their logs say why not. They try again by themselves.',
      since: mirror.movedAt,
      details: { phase: enrollment.phase, outcome },
    },
  ];
}

function block({ now, mirror }: Facts, { state, settings }: TemporalFacts): Finding[] {
  if (!state || !settings) return [];
  const quietMs = quietTimeMs(state, settings);
  if (quietMs === undefined) return [];
  const { phase, heardAt, isOpenEnded } = state.enrollment;
  const closesAt = heardAt + quietMs;
  if (phase === 'unopened') {
    return [
      {
        code: 'BLOCK_NEVER_OPENED',
        severity: 'attention',
        message: `create() was called ${span(now - heardAt)} ago, and jobs() was not.`,
        advice: `The process that created it may be gone. Call jobs(), or leave it: it ends failed ${inTime(closesAt - now)} (openTimeout).`,
        since: heardAt,
        details: { closesAt },
      },
    ];
  }
  // Rows are announced a moment after they are written.
  const enrolled = Math.max(state.enrolled, mirror?.batch.progress.total ?? 0);
  const isSilent = now - heardAt > quietMs * SILENT_PART;
  if (isOpenEnded) {
    return [
      {
        code: 'BLOCK_OPEN',
        severity: isSilent ? 'attention' : 'waiting',
        message: `The batch is open-ended and not sealed: ${counted(enrolled, 'job')} so far, its enqueuers were heard ${span(now - heardAt)} ago.`,
        advice: `Call seal() when all is enrolled. Unless something is heard again, the batch closes itself ${inTime(closesAt - now)} (openTimeout), runs what is enrolled, and ends failed.`,
        since: heardAt,
        details: { enrolled, heardAt, closesAt, isSilent },
      },
    ];
  }
  return [
    {
      code: 'BLOCK_OPEN',
      severity: isSilent ? 'attention' : 'waiting',
      message: `The enrolment block is open: ${counted(enrolled, 'job')} so far, its process was heard ${span(now - heardAt)} ago.`,
      advice: isSilent
        ? `That process is dead, hangs, or cannot reach Temporal. Unless it is heard again, the batch closes the block ${inTime(closesAt - now)} (enrollmentTimeout), runs what is enrolled, and ends failed.`
        : 'Its process is alive: jobs() has not returned there yet.',
      since: heardAt,
      details: { enrolled, heardAt, closesAt, isSilent },
    },
  ];
}

/** That the batch moves is no comfort while something needs attention: its rows may have changed just before. */
function withMoving(facts: Facts, findings: readonly Finding[]): Finding[] {
  const needsAttention = verdictOf(findings) === 'attention';
  return needsAttention ? [...findings] : [...findings, ...moving(facts)];
}

function moving({ mirror, now, idleMs }: Facts): Finding[] {
  if (!mirror || !isMoving({ mirror, now, idleMs })) return [];
  const { movedAt, endedLately } = mirror;
  return [
    {
      code: 'MOVING',
      severity: 'ok',
      message:
        endedLately > 0
          ? `The batch moves: ${counted(endedLately, 'job')} ended in the last minute.`
          : `The batch moves: its rows changed ${span(now - movedAt)} ago.`,
      advice: '',
      since: null,
      details: { endedLately },
    },
  ];
}

function unexplained({ batchId, mirror }: Facts): Finding {
  return {
    code: 'UNEXPLAINED',
    severity: 'attention',
    message: 'The batch has not moved, and nothing that explains it was found.',
    advice: `Ask again in a minute. If it stays like this, look at the history of ${quote(batchWorkflowId(batchId))} in the Temporal Web UI, and at the logs of its workers.`,
    since: mirror?.movedAt ?? null,
    details: {},
  };
}
