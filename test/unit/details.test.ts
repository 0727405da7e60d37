import { expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import { batchDetails, escaped, groupDigits, runnerDetails, runnerSummary } from '../../workflows/details.ts';
import { endingOf, wroteEnding } from '../../workflows/more-jobs.ts';
import type { FailedJob } from '../../workflows/failed-sample.ts';
import { chunkLost, initialRange, nextChunk } from '../../workflows/range-state.ts';
import { SETTINGS } from '../support/facts.ts';

function running(
  jobs: number,
  counts: { completed: number; failed: number; sample?: readonly FailedJob[] },
  error?: string,
): rules.BatchState {
  const open = rules.opened(rules.initialBatch(0), 'token', 0);
  const seal = { token: 'token', upTo: jobs, queues: [], ...(error === undefined ? {} : { error }) };
  const sealed = rules.sealed(open, seal, 0);
  const lanes = { '': { dispatched: 0, pace: { size: 25, window: 8, jobMs: 300 } } };
  const { state } = rules.assignRanges({ ...sealed, lanes }, SETTINGS);
  return rules.decided(rules.reported(state, { runner: '1', ...counts, ended: false }), SETTINGS);
}

const registration = (event: rules.BatchEvent, callback: string): rules.CallbackRegistration => ({
  event,
  callback,
  startToCloseTimeoutMs: 1_000,
  retry: { initialIntervalMs: 1, backoffCoefficient: 1, maximumIntervalMs: 1, nonRetryableErrorTypes: [] },
});

/** Keeps columns apart. */
const GAP = '\u00a0\u00a0';
const show = (state: rules.BatchState, settings: Partial<rules.BatchSettings> = {}) =>
  batchDetails(
    { batchId: 'b-1', description: 'Import of 23 November', settings: { ...SETTINGS, ...settings } },
    state,
  ).replaceAll(GAP, '');
const runner = (...args: Parameters<typeof runnerDetails>) => runnerDetails(...args).replaceAll(GAP, '');

const failed = (position: number, message = `line ${position} has 3 columns`): FailedJob => ({
  position,
  name: 'ImportLine',
  errorClass: 'FormatError',
  message,
});

test('shows a batch that runs: what it is, how far, who runs which jobs, and where to look next', () => {
  expect(show(running(12_470, { completed: 11_010, failed: 0 }))).toBe(
    [
      '### Import of 23 November',
      '',
      '**running** `███████████████████████████████████░░░░░` 88 %',
      '',
      '| total | complete | failed | pending |',
      '| :--- | :--- | :--- | :--- |',
      '| 12,470 | 11,010 | 0 | 1,460 |',
      '',
      '**Who runs which jobs**',
      '',
      '| jobs | run in | complete | failed |',
      '| :--- | :--- | :--- | :--- |',
      '| Jobs 1 to 12,470 | `batch:b-1/runner/1` | 11,010 | 0 |',
      '',
      '**Where to look next**',
      '',
      '- `npx batch-jobs status b-1`',
      "- `select * from batch_progress where id = 'b-1'`",
      '',
      // What the Web UI cuts off.
      '\u00a0',
    ].join('\n'),
  );
});

test('shows no percentage of nothing, and that the block has not begun', () => {
  const details = show(rules.initialBatch(0));
  expect(details).toContain('\n**pending**\n');
  expect(details).toContain('no job has been added yet');
  expect(details).not.toContain('%');
});

test('says that more jobs may come', () => {
  expect(show(rules.opened(rules.initialBatch(0), 'token', 0))).toContain(
    'block is open: more jobs may come',
  );
  expect(show(rules.initialBatch(0, { runId: 'run', isOpenEnded: true }))).toContain(
    'until somebody seals it',
  );
  expect(show(running(1, { completed: 0, failed: 0 }))).not.toMatch(/may come|may be added/);
});

test('shows 100 % once all jobs are terminal and not before', () => {
  expect(show(running(1_000, { completed: 999, failed: 0 }))).toMatch(/\*\*running\*\* `█{39}░` 99 %\n/);
  expect(show(running(1_000, { completed: 999, failed: 1 }))).toMatch(/\*\*failed\*\* `█{40}` 100 %\n/);
});

test('says how to list failed jobs once there are some', () => {
  const looks = ['npx batch-jobs failed b-1', "select * from failed_jobs where batch_id = 'b-1'"];
  for (const look of looks) {
    expect(show(running(10, { completed: 1, failed: 0 }))).not.toContain(look);
    expect(show(running(10, { completed: 1, failed: 2 }))).toContain(look);
  }
});

test('shows a sample of the failed jobs, and of how many', () => {
  const sample = [failed(1_204), failed(17)];
  const details = show(running(5_000, { completed: 1, failed: 250, sample }));
  expect(details).toContain(
    [
      '**Failed jobs** (2 of 250)',
      '',
      '| job | name | error | message |',
      '| :--- | :--- | :--- | :--- |',
      '| 17 | ImportLine | FormatError | line 17 has 3 columns |',
      '| 1204 | ImportLine | FormatError | line 1204 has 3 columns |',
    ].join('\n'),
  );
  expect(show(running(5_000, { completed: 1, failed: 2, sample }))).toContain('**Failed jobs** (all)');
  expect(show(running(5_000, { completed: 1, failed: 0 }))).not.toContain('Failed jobs');
});

test('stays short, however many jobs and reports there are', () => {
  let state = running(25_000, { completed: 0, failed: 0 });
  for (let position = 1; position <= 2_000; position++) {
    const sample = [failed(position, `${position} `.repeat(5_000))];
    state = rules.reported(state, { runner: '1', completed: 0, failed: position, sample, ended: false });
  }
  expect(show(state).length).toBeLessThan(3_000);
  expect(JSON.stringify(state.failedSample).length).toBeLessThan(1_500);
});

test("the app's texts are shown as they are, on one line, and not as Markdown", () => {
  const sample = [failed(1, 'a | b\n`c` **d** <script>e</script> [f](http://g) ![h](i) &amp;')];
  const details = show(running(10, { completed: 0, failed: 1, sample }));
  const row = details.split('\n').find((text) => text.startsWith('| 1 |'))!;
  expect(row).toContain(
    String.raw`a \| b \`c\` \*\*d\*\* \<script\>e\</script\> \[f\](http://g) \!\[h\](i) \&amp; |`,
  );
  expect(escaped('snake_case #1')).toBe(String.raw`snake\_case \#1`);
});

test('says why the enrolment block broke', () => {
  const state = running(1, { completed: 0, failed: 0 }, 'TypeError: no');
  expect(show(state)).toContain('\n**Enrolment broke**: TypeError: no\n');
  expect(show(running(1, { completed: 0, failed: 0 }))).not.toContain('Enrolment broke');
});

test('shows what signals and updates of others may bring, and never throws', () => {
  const error = { message: 'no text' } as unknown as string;
  expect(show(running(1, { completed: 0, failed: 0 }, error))).toContain(
    '**Enrolment broke**: \\[object Object\\]',
  );
  const deadlineAt = Number.MAX_SAFE_INTEGER;
  expect(show(running(1, { completed: 0, failed: 0 }), { deadlineAt })).toContain('Deadline: never');
});

test('says that it is paused, and why it was stopped', () => {
  const state = running(100_000, { completed: 5, failed: 0 });
  expect(show(rules.paused(state, true))).toContain('\n**Paused**: nothing new starts until `resume`\n');
  const stopped = rules.cancelled(rules.paused(state, true), { reason: 'the wrong file', graceMs: 0 });
  expect(show(stopped)).toContain('\n**Stopped**: the wrong file\n');
  expect(show(stopped)).not.toContain('Paused');
});

test('counts cancelled jobs if there are any', () => {
  const stopped = rules.cancelled(running(10, { completed: 4, failed: 0 }), { reason: 'r', graceMs: 0 });
  const settled = rules.reported(stopped, { runner: '1', completed: 4, failed: 0, ended: true });
  expect(show(settled)).toContain('| total | complete | failed | cancelled | pending |');
  expect(show(settled)).toContain('| 10 | 4 | 0 | 6 | 0 |');
  expect(show(stopped)).not.toContain('| cancelled |');
});

test('says which round it is from the second on', () => {
  const round = {
    number: 2,
    spans: '1-3',
    total: 3,
    others: { completed: 0, failed: 0, cancelled: 0 },
    cancelled: 0,
  };
  expect(show({ ...running(3, { completed: 0, failed: 0 }), round })).toContain('**running**, round 2');
});

test('shows when a job ended last', () => {
  const before = running(10, { completed: 0, failed: 0 });
  const state = rules.moved(
    before,
    running(10, { completed: 1, failed: 0 }),
    Date.UTC(2026, 10, 23, 3, 4, 5),
  );
  expect(show(state)).toContain('\nLast move: 2026-11-23 03:04:05 UTC\n');
});

test('shows each callback with what becomes of it', () => {
  let state = running(1, { completed: 0, failed: 0 });
  expect(show(state)).not.toContain('callback');
  state = rules.registered(state, registration('complete', 'RebuildCache'));
  state = rules.registered(state, registration('failure', 'AlertOps'));
  expect(show(state)).toContain('| complete | RebuildCache | not yet |\n| failure | AlertOps | not yet |');
  const ended = rules.decided(
    rules.reported(state, { runner: '1', completed: 0, failed: 1, ended: true }),
    SETTINGS,
  );
  state = wroteEnding(ended, endingOf(ended)!);
  expect(show(state)).toContain('| complete | RebuildCache | does not run |\n| failure | AlertOps | due |');
  expect(show(rules.firing(state, 'failure'))).toContain('| failure | AlertOps | runs |');
  expect(show(rules.fired(state, 'failure'))).toContain('| failure | AlertOps | has ended |');
});

test('names no more than some of many runners', () => {
  const state = running(1, { completed: 0, failed: 0 });
  const one = { ...state.runners['1']!, lane: 'mail', inline: false };
  const runners = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [String(i + 1), one]));
  const details = show({ ...state, runners });
  expect(details).toContain('| Job 1 on mail | `batch:b-1/runner/6` | 0 | 0 |');
  expect(details).not.toContain('runner/7');
  expect(details).toContain('and 34 more');
});

test.each([
  [0, '0'],
  [999, '999'],
  [1_000, '1,000'],
  [12_345, '12,345'],
  [1_234_567, '1,234,567'],
])('groups the digits of %i as %s', (value, text) => {
  expect(groupDigits(value)).toBe(text);
});

test('shows limits, the failure policy and the deadline where they are not the usual ones', () => {
  const state = running(1, { completed: 0, failed: 0 });
  expect(show(state)).not.toMatch(/Limits|Fails|Deadline/);
  const settings = {
    deadlineAt: Date.UTC(2026, 10, 23, 3),
    failWhenFailed: { moreThan: '5%' },
    jobLimits: { Mail: { perSecond: 3 } },
    maxConcurrentJobs: 50,
  } as const;
  expect(show(state, settings)).toContain(
    '\n- Limits: 50 at once; Mail: 3 a second\n- Fails when failed: more than 5%\n' +
      '- Deadline: 2026-11-23 03:00:00 UTC, then it is failed\n',
  );
  const changed = rules.updated(state, { maxConcurrentJobs: 7, failWhen: 'immediate' });
  expect(show(changed, settings)).toMatch(/Limits: 7 at once;[^]*more than 5%, at once/);
});

test('shows of a runner how far it is, and what it waits for', () => {
  const steering = { isPaused: false, isStopped: false, isLimited: false };
  const range = initialRange([[1, 100]], { size: 40, window: 2 });
  const { state, chunk } = nextChunk(range, 0)!;
  const title = { batchId: 'b-1', lane: 'mail' };
  expect(runner(title, steering, state)).toContain('| 0 | 0 | 0 | 60 |');
  expect(runner(title, steering, state)).toContain('Next chunk: 40 jobs on mail, up to 2 chunks');
  expect(runner(title, steering, state)).toContain('`batch:b-1`');
  expect(runner(title, steering, chunkLost(state, chunk))).toContain(
    'To be run again, because a worker was lost: 40',
  );
  const delayed = { ...state, delayed: [{ dueAt: Date.UTC(2026, 10, 23), spans: [[1, 3]] as const }] };
  expect(runner(title, steering, delayed)).toContain('The next ones are due: 2026-11-23 00:00:00 UTC');
  expect(runner(title, { ...steering, isPaused: true }, state)).toContain('**Paused**');
  expect(runner(title, { ...steering, isStopped: true }, state)).toContain('**Stopped**');
  expect(runner(title, { ...steering, isLimited: true }, state)).toContain('Hands its jobs back');
});

test('names a runner by its jobs and its batch, within what a summary may have', () => {
  const batch = { batchId: 'b-1', description: 'Import' };
  expect(runnerSummary(batch, { from: 1, to: 25_000, lane: 'mail' })).toBe(
    'Jobs 1 to 25,000 on mail of batch b-1: Import',
  );
  const long = runnerSummary({ ...batch, description: '語'.repeat(500) }, { from: 1, to: 2, lane: '' });
  expect(Buffer.byteLength(JSON.stringify(long))).toBeLessThan(380);
});
