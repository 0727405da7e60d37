import {
  isSettled,
  policyOf,
  progressOf,
  type BatchEvent,
  type BatchPolicy,
  type BatchSettings,
  type BatchState,
} from './batch-state.ts';
import type { Assignment } from './ranges.ts';
import type { Steering } from './steering.ts';
import { line, type FailedJob } from './failed-sample.ts';
import { describePolicy } from './failure-policy.ts';
import { describeLane } from './lanes.ts';
import { describeLimits } from './limits.ts';
import { dueCount, nextDueAt, type RangeState } from './range-state.ts';
import { roundNumberOf } from './rounds.ts';
import { countOf } from './spans.ts';

/**
 * What the Web UI shows of batches, in Temporal's Markdown. It is made again at each change: no more than texts are put
 * together here. Nothing of a job's arguments: whoever may see workflows may not see those for that.
 */

/** What does not change of a batch. */
export interface BatchTitle {
  readonly batchId: string;
  readonly description: string;
  readonly settings: BatchSettings;
}

const BAR_LENGTH = 40;
const MAX_RUNNERS = 6;
/** What a Date can hold. */
const MAX_TIME_MS = 8.64e15;
const GAP = '\u00a0\u00a0';
/** The frames in which the Web UI shows texts are a line too short: the last one, cut off, is to be an empty one. */
const CUT_OFF = '\u00a0';
/** A summary may have 400 bytes, a character of UTF-16 up to three. */
const MAX_SUMMARY_LENGTH = 120;

/** The current details of a batch: how far it is, what holds it up, what failed and why, and where to look next. */
export function batchDetails({ batchId, description, settings }: BatchTitle, state: BatchState): string {
  const policy = policyOf(state, settings);
  return [
    `### ${escaped(description)}`,
    ...progressLines(state),
    ...newsOf(state),
    ...callbackLines(state),
    ...failedLines(state),
    ...runnerLines(batchId, state),
    ...policyLines(policy),
    ...nextLooks(batchId, progressOf(state).failed > 0),
    CUT_OFF,
  ].join('\n\n');
}

function progressLines(state: BatchState): string[] {
  const { status, total, complete, failed, cancelled, pending } = progressOf(state);
  const counts: [string, number][] = [
    ['total', total],
    ['complete', complete],
    ['failed', failed],
    ...(cancelled > 0 ? [['cancelled', cancelled] as [string, number]] : []),
    ['pending', pending],
  ];
  const round = roundNumberOf(state);
  const head = `**${status}**${round > 1 ? `, round ${round}` : ''}`;
  const share = total > 0 ? (complete + failed) / total : 0;
  const filled = Math.floor(share * BAR_LENGTH);
  const bar = `\`${'█'.repeat(filled)}${'░'.repeat(BAR_LENGTH - filled)}\``;
  return [
    total > 0 ? `${head} ${bar} ${Math.floor(100 * share)} %` : head,
    table(
      counts.map(([name]) => name),
      [counts.map(([, count]) => groupDigits(count))],
    ),
    ...(state.movement.ended > 0 ? [`Last move: ${timeOf(state.movement.movedAt)}`] : []),
  ];
}

/** What is unusual, or waited for. */
function newsOf(state: BatchState): string[] {
  const { enrollment, stop, isPaused, outcome } = state;
  const news: string[] = [];
  if (stop) news.push(`**Stopped**: ${escaped(stop.reason)}`);
  else if (isPaused) news.push('**Paused**: nothing new starts until `resume`');
  if (enrollment.error !== null) news.push(`**Enrolment broke**: ${escaped(enrollment.error)}`);
  if (enrollment.phase === 'unopened') news.push('Waits for its enrolment block: no job has been added yet');
  if (enrollment.phase === 'open')
    news.push(
      enrollment.isOpenEnded
        ? 'Open: jobs may be added until somebody seals it'
        : 'Its enrolment block is open: more jobs may come',
    );
  if (outcome !== null && !isSettled(state)) news.push('Its outcome is certain; jobs still run');
  return news;
}

function callbackLines(state: BatchState): string[] {
  const rows = Object.values(state.callbacks).map((registration) => [
    registration.event,
    escaped(registration.callback),
    callbackState(state, registration.event),
  ]);
  return rows.length === 0 ? [] : [table(['event', 'callback', ''], rows)];
}

function callbackState(state: BatchState, event: BatchEvent): string {
  if (state.fired.includes(event)) return 'has ended';
  if (state.firing.includes(event)) return 'runs';
  if (!state.closedEvents.includes(event)) return 'not yet';
  if (event !== 'idle' && eventsDue(state).includes(event)) return 'due';
  return 'does not run';
}

/** The events that have happened. */
function eventsDue({ outcome, written }: BatchState): BatchEvent[] {
  if (!written.outcome || outcome === null) return [];
  return [outcome === 'failed' ? 'failure' : outcome, ...(written.settled ? ['settled' as const] : [])];
}

function failedLines(state: BatchState): string[] {
  const { failedSample } = state;
  const { failed } = progressOf(state);
  if (failedSample.length === 0 || failed === 0) return [];
  const count = failedSample.length < failed ? `${failedSample.length} of ${groupDigits(failed)}` : 'all';
  return [
    `**Failed jobs** (${count})`,
    table(
      ['job', 'name', 'error', 'message'],
      failedSample.toSorted((a, b) => a.position - b.position).map(failedRow),
    ),
  ];
}

function failedRow({ position, name, errorClass, message }: FailedJob): string[] {
  return [String(position), escaped(name), escaped(errorClass), escaped(message)];
}

/** Who holds which jobs. */
function runnerLines(batchId: string, state: BatchState): string[] {
  const runners = Object.entries(state.runners);
  if (runners.length === 0) return [];
  const rows = runners
    .slice(0, MAX_RUNNERS)
    .map(([runner, { lane, from, to, inline, completed, failed }]) => {
      const where = inline ? 'this workflow' : `\`batch:${batchId}/runner/${runner}\``;
      return [
        `${rangeOf(from, to)}${escaped(describeLane(lane))}`,
        where,
        groupDigits(completed),
        groupDigits(failed),
      ];
    });
  const more = runners.length - rows.length;
  return [
    '**Who runs which jobs**',
    table(['jobs', 'run in', 'complete', 'failed'], rows),
    ...(more > 0 ? [`and ${more} more: see its child workflows`] : []),
  ];
}

function policyLines(policy: BatchPolicy): string[] {
  const limits = describeLimits(policy);
  const { failWhenFailed, failWhen, afterFailure, deadlineAt, afterDeadline } = policy;
  const lines = [
    ...(limits === '' ? [] : [`Limits: ${escaped(limits)}`]),
    ...(failWhenFailed === 'any' && failWhen === 'settled' && afterFailure === 'continue'
      ? []
      : [
          `Fails when failed: ${describePolicy(failWhenFailed)}${failWhen === 'immediate' ? ', at once' : ''}` +
            (afterFailure === 'cancelRemaining' ? '; then the rest is cancelled' : ''),
        ]),
    ...(deadlineAt === null
      ? []
      : [`Deadline: ${timeOf(deadlineAt)}, then it is ${afterDeadline === 'fail' ? 'failed' : 'cancelled'}`]),
  ];
  return lines.length === 0 ? [] : [lines.map((text) => `- ${text}`).join('\n')];
}

function nextLooks(batchId: string, hasFailed: boolean): string[] {
  return [
    [
      '**Where to look next**',
      '',
      `- \`npx batch-jobs status ${batchId}\``,
      ...(hasFailed ? [`- \`npx batch-jobs failed ${batchId}\``] : []),
      `- \`select * from batch_progress where id = '${batchId}'\``,
      ...(hasFailed ? [`- \`select * from failed_jobs where batch_id = '${batchId}'\``] : []),
    ].join('\n'),
  ];
}

/** A range of a batch that a workflow of its own runs. */
export interface RunnerTitle {
  readonly batchId: string;
  readonly lane: string;
}

/** The current details of a runner. */
export function runnerDetails(
  { batchId, lane }: RunnerTitle,
  { isPaused, isStopped, isLimited }: Pick<Steering, 'isPaused' | 'isStopped' | 'isLimited'>,
  range: RangeState,
): string {
  const { completed, failed, delayed, lost, suspect, pace } = range;
  const waiting = delayed.reduce((sum, { spans }) => sum + countOf(spans), 0);
  const dueAt = nextDueAt(range);
  const again = countOf(lost) + countOf(suspect);
  return [
    ...(isStopped ? ['**Stopped**: the batch was stopped'] : []),
    ...(isPaused ? ['**Paused**: nothing new starts until `resume`'] : []),
    ...(isLimited ? ['Hands its jobs back: the batch has limits now, and runs them itself'] : []),
    table(
      ['complete', 'failed', 'wait for their time', 'to be started'],
      [[completed, failed, waiting, dueCount(range)].map(groupDigits)],
    ),
    ...(dueAt === undefined ? [] : [`The next ones are due: ${timeOf(dueAt)}`]),
    ...(again === 0 ? [] : [`To be run again, because a worker was lost: ${groupDigits(again)}`]),
    `Next chunk: ${pace.size} jobs${escaped(describeLane(lane))}, up to ${pace.window} chunks in flight`,
    `The batch: \`batch:${batchId}\``,
    CUT_OFF,
  ].join('\n\n');
}

/** How the Web UI names a runner. */
export function runnerSummary(
  { batchId, description }: Omit<BatchTitle, 'settings'>,
  { from, to, lane }: Pick<Assignment, 'from' | 'to' | 'lane'>,
): string {
  return line(
    `${rangeOf(from, to)}${describeLane(lane)} of batch ${batchId}: ${description}`,
    MAX_SUMMARY_LENGTH,
  );
}

/** How the Web UI names a callback; tools find its row by it. */
export function callbackSummary({ callback, event }: { callback: string; event: BatchEvent }): string {
  return `${callback} on ${event}`;
}

/** `Jobs 1 to 25,000`. */
function rangeOf(from: number, to: number): string {
  return from === to ? `Job ${groupDigits(from)}` : `Jobs ${groupDigits(from)} to ${groupDigits(to)}`;
}

/** The Web UI gives tables no padding: two spaces that it does not drop keep their columns apart. */
function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]) => `| ${cells.map((cell) => `${cell}${GAP}`).join(' | ')} |`;
  return [row(heads), `| ${heads.map(() => ':---').join(' | ')} |`, ...rows.map(row)].join('\n');
}

/** Never throws: what is shown must not keep a batch from going on. */
function timeOf(ms: number): string {
  if (!(Math.abs(ms) <= MAX_TIME_MS)) return 'never';
  return `${new Date(ms).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

/**
 * Text of the app's, as it is: on one line, and without what Markdown or HTML would make of it. What came in a signal
 * may be no text.
 */
export function escaped(text: unknown): string {
  return String(text)
    .replace(/\s+/g, ' ')
    .replace(/[\\`*_~|[\]<>&#!]/g, '\\$&');
}

/** `1234567` as `1,234,567`. Not toLocaleString: workflow code must not depend on the worker's locale data. */
export function groupDigits(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}
