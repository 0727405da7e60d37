import { describe, expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import { isExceeded } from '../../workflows/failure-policy.ts';
import { INITIAL_PACE } from '../../workflows/pacing.ts';
import type { Assignment, RunnerReport } from '../../workflows/ranges.ts';
import type {
  BatchEvent,
  BatchSettings,
  BatchState,
  CallbackRegistration,
} from '../../workflows/batch-state.ts';
import { SETTINGS } from '../support/facts.ts';
import { forSeeds, type Random } from '../support/random.ts';

const NOW = 1_000_000;
const TOKEN = 'token';
const OTHER = 'other-token';
const RUN = 'run-1';
const EVENTS: readonly BatchEvent[] = ['complete', 'failure', 'settled'];

/** The limits of assignRanges. */
const MAX_RANGE = 25_000;
const MAX_RUNNERS = 2;
const MAX_INLINE_CHUNKS = 40;
const MAX_INLINE_JOBS = 10_000;

const settings = (overrides: Partial<BatchSettings> = {}): BatchSettings => ({ ...SETTINGS, ...overrides });

const seal = (token: string) => ({ token, upTo: 3, queues: [] });
const message = (upTo: number, queues: readonly string[] = [], token = TOKEN) => ({ token, upTo, queues });

function openBatch(): BatchState {
  return rules.opened(rules.initialBatch(NOW), TOKEN, NOW);
}

function enrolledBatch(upTo: number, queues: readonly string[] = []): BatchState {
  return rules.enrolled(openBatch(), message(upTo, queues), NOW);
}

function sealedBatch(upTo: number, error?: string): BatchState {
  return rules.sealed(openBatch(), { ...message(upTo), ...(error === undefined ? {} : { error }) }, NOW);
}

/** A batch that has learned how large its chunks can be. */
function withPace(state: BatchState, size: number | undefined): BatchState {
  if (size === undefined) return state;
  const lane = { ...state.lanes[''], dispatched: state.lanes['']?.dispatched ?? 0 };
  return { ...state, lanes: { ...state.lanes, '': { ...lane, pace: { size, window: 8, jobMs: 1 } } } };
}

/** Jobs that take long, so that chunks stay as small as the first ones. */
function withLongJobs(state: BatchState): BatchState {
  return withPace(state, INITIAL_PACE.size);
}

function assignRanges(state: BatchState) {
  return rules.assignRanges(state, settings());
}

/** A sealed batch whose jobs are with runners. */
function runningBatch(upTo: number, error?: string): { state: BatchState; assignments: Assignment[] } {
  return assignRanges(sealedBatch(upTo, error));
}

const report = (runner: string, completed: number, failed: number, ended = false): RunnerReport => ({
  runner,
  completed,
  failed,
  ended,
});

const registration = (event: BatchEvent, callback = 'Notify'): CallbackRegistration => ({
  event,
  callback,
  startToCloseTimeoutMs: 600_000,
  retry: {
    initialIntervalMs: 1_000,
    backoffCoefficient: 2,
    maximumIntervalMs: 100_000,
    nonRetryableErrorTypes: [],
  },
});

describe('the enrolment block', () => {
  const unopened = rules.initialBatch(NOW, { runId: RUN });
  const first = `${RUN}/its opening`;

  test('is opened by its first message, whatever that is', () => {
    const heard = rules.enrolled(unopened, message(0, [], first), NOW + 5);
    expect(heard.enrollment).toMatchObject({ phase: 'open', token: first, openings: 1, heardAt: NOW + 5 });
    expect(rules.enrolled(unopened, message(3, [], first), NOW).enrolled).toBe(3);
    expect(rules.refuseSeal(unopened, seal(first))).toBeUndefined();
    const sealed = rules.sealed(unopened, { ...message(3, [], first), error: 'Error: no' }, NOW);
    expect(sealed).toMatchObject({ enrolled: 3, enrollment: { phase: 'sealed', error: 'Error: no' } });
  });

  test.each([
    ['of an earlier batch of this id', message(9, [], 'run-0/its opening')],
    ['that names no opening', message(9, [], RUN)],
    ['that makes no sense', message(-1, [], first)],
    ['without a token', { upTo: 9, queues: [] } as never],
    ['with a number for a token', { token: 7, upTo: 9, queues: [] } as never],
  ])('is not opened by a message %s', (_what, stray) => {
    expect(rules.enrolled(unopened, stray, NOW + 1)).toEqual(unopened);
    expect(rules.refuseSeal(unopened, stray)).toBeDefined();
  });

  test('is not opened by a message in a later round', () => {
    const round = rules.initialRound([], NOW);
    expect(rules.enrolled(round, message(9, [], first), NOW)).toEqual(round);
  });

  test('can be taken over before it was heard of, while it is open, and not after that', () => {
    expect(rules.refuseOpen(unopened)).toBeUndefined();
    expect(rules.refuseOpen(openBatch())).toBeUndefined();
    expect(rules.refuseOpen(sealedBatch(3))).toMatchObject({ code: 'ALREADY_ENROLLED' });
  });

  test('is heard again without being opened again', () => {
    const again = rules.opened(openBatch(), TOKEN, NOW + 5);
    expect(again.enrollment).toMatchObject({ phase: 'open', token: TOKEN, openings: 1, heardAt: NOW + 5 });
  });

  test('is looked for in the row ever more rarely, and at last after openTimeout', () => {
    const lookIn = (age: number, overrides: Partial<BatchSettings> = {}) =>
      rules.nextBlockLookMs(
        unopened,
        settings({ enrollmentTimeoutMs: 300, openTimeoutMs: 1_000, ...overrides }),
        NOW + age,
      );
    expect([0, 100, 299].map((age) => lookIn(age))).toEqual([300, 200, 1]);
    expect([300, 599, 600].map((age) => lookIn(age))).toEqual([300, 1, 400]);
    expect([999, 1_000, 5_000].map((age) => lookIn(age))).toEqual([1, 0, 0]);
    expect(lookIn(0, { openTimeoutMs: 10 })).toBe(10);
  });

  test('cannot be opened again after it was sealed', () => {
    expect(rules.refuseOpen(sealedBatch(3))).toMatchObject({ code: 'ALREADY_ENROLLED' });
  });

  test('cannot be opened after the batch closed itself', () => {
    const closed = rules.enrollmentTimedOut(rules.initialBatch(NOW), settings());
    expect(rules.refuseOpen(closed)).toMatchObject({ code: 'ENROLLMENT_TIMED_OUT' });
  });

  test('cannot be opened by another process after it was open and timed out, and the refusal says so', () => {
    const refusal = rules.refuseOpen(rules.enrollmentTimedOut(openBatch(), settings()));
    expect(refusal?.code).toBe('ENROLLMENT_TIMED_OUT');
    expect(refusal?.message).not.toContain('was not opened');
  });

  test('moves the watermark up with each message, and the sign of life with it', () => {
    const state = rules.enrolled(enrolledBatch(10), message(25), NOW + 7);
    expect(state.enrolled).toBe(25);
    expect(state.enrollment.heardAt).toBe(NOW + 7);
  });

  test.each([0, 9, 10])('keeps the watermark at 10 when a message up to %i comes late or twice', (upTo) => {
    expect(rules.enrolled(enrolledBatch(10), message(upTo), NOW).enrolled).toBe(10);
  });

  test('ignores messages of another block', () => {
    const state = enrolledBatch(10);
    expect(rules.enrolled(state, message(99, ['elsewhere'], OTHER), NOW + 1)).toEqual(state);
  });

  test('ignores messages after it was sealed', () => {
    const state = sealedBatch(10);
    expect(rules.enrolled(state, message(99, ['elsewhere']), NOW + 1)).toEqual(state);
  });

  test('is sealed with the total of its last message', () => {
    const state = rules.sealed(enrolledBatch(10), message(12), NOW);
    expect(state.enrollment).toMatchObject({ phase: 'sealed', error: null, timedOut: false });
    expect(state.enrolled).toBe(12);
  });

  test('is sealed with what was announced when the seal says less', () => {
    expect(rules.sealed(enrolledBatch(10), message(8), NOW).enrolled).toBe(10);
  });

  test('keeps the error that broke it', () => {
    expect(sealedBatch(3, 'TypeError: no').enrollment.error).toBe('TypeError: no');
  });

  test('is sealed by the first of two seals', () => {
    const state = sealedBatch(3);
    expect(rules.refuseSeal(state, seal(TOKEN))).toBeUndefined();
    expect(rules.sealed(state, { ...message(9), error: 'late' }, NOW + 1)).toEqual(state);
  });

  test('cannot be sealed with another token, open or sealed', () => {
    expect(rules.refuseSeal(openBatch(), seal(OTHER))).toMatchObject({ code: 'ALREADY_ENROLLED' });
    expect(rules.refuseSeal(sealedBatch(3), seal(OTHER))).toMatchObject({ code: 'ALREADY_ENROLLED' });
  });

  test('cannot be sealed before it was opened', () => {
    expect(rules.refuseSeal(rules.initialBatch(NOW), seal(TOKEN))).toMatchObject({
      code: 'ALREADY_ENROLLED',
    });
  });

  test('cannot be sealed by its process after the batch closed it', () => {
    const closed = rules.enrollmentTimedOut(enrolledBatch(5), settings());
    expect(rules.refuseSeal(closed, seal(TOKEN))).toMatchObject({ code: 'ENROLLMENT_TIMED_OUT' });
  });

  test('is heard of with each sign of life', () => {
    const state = rules.enrolled(openBatch(), message(0), NOW + 60_000);
    expect(openBatch().enrollment.heardAt).toBe(NOW);
    expect(state.enrollment.heardAt).toBe(NOW + 60_000);
    expect(rules.quietTimeMs(state, settings())).toBe(300_000);
  });

  test('does not take the messages of another block for signs of life', () => {
    const state = rules.enrolled(openBatch(), message(0, [], OTHER), NOW + 60_000);
    expect(state.enrollment.heardAt).toBe(NOW);
  });

  test.each([
    { token: TOKEN, upTo: -1, queues: [] },
    { token: TOKEN, upTo: 1.5, queues: [] },
    { token: TOKEN, upTo: '7' as never, queues: [] },
    { token: TOKEN, upTo: 7, queues: undefined as never },
    { token: TOKEN, upTo: 7, queues: [null as never] },
  ])('ignores the announcement %j, and refuses it as a seal', (garbage) => {
    expect(rules.enrolled(openBatch(), garbage, NOW + 1)).toEqual(openBatch());
    expect(rules.refuseSeal(openBatch(), garbage)).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('times out when it is never opened', () => {
    const state = rules.initialBatch(NOW);
    expect(rules.quietTimeMs(state, settings({ openTimeoutMs: 5_000 }))).toBe(5_000);
    const closed = rules.enrollmentTimedOut(state, settings({ openTimeoutMs: 5_000 }));
    expect(closed.enrollment).toMatchObject({
      phase: 'sealed',
      timedOut: true,
      error: 'No enrolment block was opened for 5 s (openTimeout).',
    });
    expect(rules.decided(closed, settings()).outcome).toBe('failed');
  });

  test('keeps the jobs that were enrolled when it times out, and fails the batch once they are done', () => {
    const closed = rules.enrollmentTimedOut(enrolledBatch(2), settings());
    expect(closed.enrollment.error).toMatch(
      /nothing was heard from its process for 300 s \(enrollmentTimeout\)/,
    );
    const { state, assignments } = assignRanges(closed);
    expect(rules.decided(state, settings()).outcome).toBeNull();
    const done = rules.reported(state, report(assignments[0]!.runner, 2, 0, true));
    expect(rules.decided(done, settings()).outcome).toBe('failed');
    expect(rules.progressOf(done)).toMatchObject({
      total: 2,
      complete: 2,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
  });

  test('may be quiet for ever once it is sealed', () => {
    expect(rules.quietTimeMs(sealedBatch(1), settings())).toBeUndefined();
  });

  test('leaves nothing behind when it was empty', () => {
    expect(rules.isDiscarded(sealedBatch(0))).toBe(true);
  });

  test.each([
    { what: 'it is still open', state: openBatch() },
    { what: 'it was not opened yet', state: rules.initialBatch(NOW) },
    { what: 'it has a job', state: sealedBatch(1) },
    { what: 'it broke', state: sealedBatch(0, 'Error: no') },
    { what: 'it timed out', state: rules.enrollmentTimedOut(openBatch(), settings()) },
  ])('keeps the batch when $what', ({ state }) => {
    expect(rules.isDiscarded(state)).toBe(false);
  });
});

describe('ranges', () => {
  test('are handed out while the block is still open', () => {
    const { assignments } = assignRanges(enrolledBatch(500));
    expect(assignments).toEqual([{ runner: '1', lane: '', from: 1, to: 500, inline: true }]);
  });

  test('are handed out once', () => {
    const { state } = assignRanges(enrolledBatch(500));
    expect(assignRanges(state)).toEqual({ state, assignments: [] });
  });

  test.each([
    { jobs: 1, size: undefined, where: 'the batch workflow', inline: true },
    {
      jobs: MAX_INLINE_CHUNKS * INITIAL_PACE.size,
      size: undefined,
      where: 'the batch workflow',
      inline: true,
    },
    { jobs: MAX_INLINE_CHUNKS, size: 1, where: 'the batch workflow', inline: true },
    { jobs: MAX_INLINE_CHUNKS + 1, size: 1, where: 'a child workflow', inline: false },
    { jobs: MAX_INLINE_JOBS, size: 2_000, where: 'the batch workflow', inline: true },
  ])('of $jobs jobs, $size a chunk, run in $where', ({ jobs, size, inline }) => {
    expect(assignRanges(withPace(sealedBatch(jobs), size)).assignments).toMatchObject([
      { from: 1, to: jobs, inline },
    ]);
  });

  test('run in child workflows where histories are to be short', () => {
    const known = withLongJobs(sealedBatch(150));
    const { assignments } = rules.assignRanges(known, settings({ maxHistoryEvents: 200 }));
    expect(assignments).toMatchObject([{ from: 1, to: 150, inline: false }]);
  });

  test('behind the first one wait until it is known how long jobs take', () => {
    const first = MAX_INLINE_CHUNKS * INITIAL_PACE.size;
    const { state, assignments } = assignRanges(sealedBatch(5_000));
    expect(assignments).toMatchObject([{ runner: '1', from: 1, to: first, inline: true }]);
    const pace = { size: 2_000, window: 9, jobMs: 0.01 };
    const told = rules.reported(state, { ...report('1', INITIAL_PACE.size, 0, false), pace });
    expect(assignRanges(told).assignments).toMatchObject([
      { from: first + 1, to: 5_000, inline: true, pace },
    ]);
  });

  test('behind the first one start when all its jobs have, one range at a time, and not in the batch workflow', () => {
    const { state } = assignRanges(sealedBatch(100_000));
    const first = MAX_INLINE_CHUNKS * INITIAL_PACE.size;
    const pace = { size: INITIAL_PACE.size, window: 20 };
    const idle = { runner: '1', completed: 0, failed: 0, ended: false, idle: true, pace };
    const next = assignRanges(rules.reported(state, idle));
    expect(next.assignments).toMatchObject([{ from: first + 1, to: first + MAX_RANGE, inline: false }]);
  });

  test('of many short jobs run in the batch workflow part by part', () => {
    const { assignments } = assignRanges(withPace(sealedBatch(100_000), 2_000));
    expect(assignments).toMatchObject([
      { from: 1, to: MAX_INLINE_JOBS, inline: true },
      { from: MAX_INLINE_JOBS + 1, to: 2 * MAX_INLINE_JOBS, inline: true },
    ]);
  });

  test('are cut, and at most two of a lane run at once', () => {
    const { state, assignments } = assignRanges(withLongJobs(sealedBatch(100_000)));
    expect(assignments).toMatchObject([
      { runner: '1', from: 1, to: MAX_RANGE },
      { runner: '2', from: MAX_RANGE + 1, to: 2 * MAX_RANGE },
    ]);
    const next = assignRanges(rules.reported(state, report('1', MAX_RANGE, 0, true)));
    expect(next.assignments).toMatchObject([{ runner: '3', from: 2 * MAX_RANGE + 1, to: 3 * MAX_RANGE }]);
  });

  test('of few jobs wait for company beside a running one while the block is open', () => {
    const { state } = assignRanges(withLongJobs(enrolledBatch(500)));
    const more = rules.enrolled(state, message(499 + INITIAL_PACE.size), NOW);
    expect(assignRanges(more).assignments).toEqual([]);
    const many = rules.enrolled(more, message(500 + INITIAL_PACE.size), NOW);
    expect(assignRanges(many).assignments).toMatchObject([
      { from: 501, to: 500 + INITIAL_PACE.size, inline: true },
    ]);
  });

  test('of few jobs start beside a running one when no more will come', () => {
    const { state } = assignRanges(withLongJobs(enrolledBatch(500)));
    const sealed = rules.sealed(state, message(550), NOW);
    expect(assignRanges(sealed).assignments).toMatchObject([{ from: 501, to: 550, inline: true }]);
  });

  test('start behind runners that only wait for a time to come', () => {
    const { state, assignments } = assignRanges(withLongJobs(enrolledBatch(75_000)));
    expect(assignments).toHaveLength(2);
    const waiting = assignments.reduce(
      (current, { runner }) =>
        rules.reported(current, { runner, completed: 0, failed: 0, ended: false, idle: true }),
      state,
    );
    expect(assignRanges(waiting).assignments).toMatchObject([{ from: 50_001, to: 75_000 }]);
    const busyAgain = rules.reported(waiting, {
      runner: '1',
      completed: 0,
      failed: 0,
      ended: false,
      idle: false,
    });
    expect(assignRanges(rules.reported(busyAgain, report('2', 0, 0, false))).assignments).toEqual([]);
  });

  test('of few jobs start once the running one has ended', () => {
    const { state } = assignRanges(enrolledBatch(500));
    const sealed = rules.sealed(state, message(550), NOW);
    const ended = rules.reported(assignRanges(sealed).state, report('1', 500, 0, true));
    const all = [...assignRanges(sealed).assignments, ...assignRanges(ended).assignments];
    expect(all).toMatchObject([{ from: 501, to: 550, inline: true }]);
  });

  test('get what the last runner of their lane learned', () => {
    const { state } = assignRanges(enrolledBatch(500));
    const pace = { size: 1_234, window: 17, jobMs: 3 };
    const ended = rules.reported(state, { ...report('1', 500, 0, true), pace });
    const more = rules.enrolled(ended, message(1_000), NOW);
    expect(assignRanges(more).assignments).toMatchObject([{ from: 501, to: 1_000, pace }]);
  });

  test('of another task queue cover the same positions in a lane of their own', () => {
    const { assignments } = assignRanges(enrolledBatch(50, ['gpu']));
    expect(assignments).toEqual([
      { runner: '1', lane: '', from: 1, to: 50, inline: true },
      { runner: '2', lane: 'gpu', from: 1, to: 50, inline: true },
    ]);
  });

  test('of a task queue that is named later start behind the watermark that was known then', () => {
    const { state } = assignRanges(enrolledBatch(500));
    const later = rules.enrolled(state, message(800, ['gpu']), NOW);
    const gpu = assignRanges(later).assignments.filter(({ lane }) => lane === 'gpu');
    expect(gpu).toEqual([{ runner: '2', lane: 'gpu', from: 501, to: 800, inline: true }]);
  });

  test('of a task queue keep their start when the queue is named again', () => {
    const first = rules.enrolled(openBatch(), message(10, ['gpu']), NOW);
    const again = rules.enrolled(first, message(20, ['gpu']), NOW);
    expect(again.lanes['gpu']).toEqual({ dispatched: 0 });
  });

  test.each(['constructor', 'toString', '__proto__'])(
    'are handed out for a task queue named "%s"',
    (queue) => {
      const { assignments } = assignRanges(enrolledBatch(5, [queue]));
      expect(assignments.map(({ lane }) => lane)).toEqual(['', queue]);
    },
  );

  test('hand out each position of each lane exactly once, in order, whatever comes when', async () => {
    await forSeeds(300, (random) => {
      let state = openBatch();
      let announced = 0;
      const queues = new Set<string>();
      const startOf: Record<string, number> = { '': 1 };
      const coveredTo: Record<string, number> = {};
      const active = new Map<string, Assignment>();
      const assign = () => {
        const before = active.size;
        const next = assignRanges(state);
        state = next.state;
        for (const assignment of next.assignments) {
          const { runner, lane, from, to, inline, pace = INITIAL_PACE } = assignment;
          expect(active.has(runner), `runner id ${runner} is new`).toBe(false);
          expect(from, `start of ${JSON.stringify(assignment)}`).toBe(
            (coveredTo[lane] ?? startOf[lane]! - 1) + 1,
          );
          expect(to).toBeGreaterThanOrEqual(from);
          expect(to).toBeLessThanOrEqual(state.enrolled);
          expect(to - from + 1).toBeLessThanOrEqual(MAX_RANGE);
          expect(inline).toBe(to - from + 1 <= MAX_INLINE_CHUNKS * pace.size);
          coveredTo[lane] = to;
          active.set(runner, assignment);
        }
        for (const lane of Object.keys(startOf)) {
          const running = [...active.values()].filter((assignment) => assignment.lane === lane);
          expect(running.length, `runners of lane "${lane}"`).toBeLessThanOrEqual(MAX_RUNNERS);
        }
        return active.size - before;
      };
      const endOne = () => {
        const { runner, from, to } = random.pick([...active.values()]);
        active.delete(runner);
        const pace = { size: random.pick([1, 25, 2_000]), window: 8, jobMs: 1 };
        state = rules.reported(state, { ...report(runner, to - from + 1, 0, true), pace });
      };
      for (let step = random.int(1, 15); step > 0; step--) {
        if (random.chance(0.2)) {
          const queue = random.pick(['gpu', 'mail']);
          if (!queues.has(queue)) startOf[queue] = announced + 1;
          queues.add(queue);
        }
        announced += random.pick([1, 30, 100, 101, 1_000, 30_000, 80_000]);
        state = rules.enrolled(state, message(announced, [...queues]), NOW);
        assign();
        if (active.size > 0 && random.chance(0.5)) {
          endOne();
          assign();
        }
      }
      state = rules.sealed(state, message(announced, [...queues]), NOW);
      assign();
      while (active.size > 0) {
        endOne();
        assign();
      }
      expect(coveredTo).toEqual(Object.fromEntries(Object.keys(startOf).map((lane) => [lane, announced])));
    });
  });
});

describe('reports', () => {
  test('count while the runner still runs', () => {
    const { state } = runningBatch(10);
    expect(rules.progressOf(rules.reported(state, report('1', 4, 1)))).toEqual({
      status: 'running',
      total: 10,
      complete: 4,
      failed: 1,
      cancelled: 0,
      pending: 5,
    });
  });

  test('are cumulative, so that the same one twice counts once', () => {
    const { state } = runningBatch(10);
    const once = rules.reported(state, report('1', 4, 1));
    expect(rules.reported(once, report('1', 4, 1))).toEqual(once);
  });

  test('that come late never take counts back', () => {
    const { state } = runningBatch(10);
    const later = rules.reported(state, report('1', 6, 2));
    expect(rules.terminalCounts(rules.reported(later, report('1', 3, 0)))).toEqual({
      completed: 6,
      failed: 2,
      cancelled: 0,
    });
  });

  test('that overtake the last one are added up once', () => {
    const { state } = runningBatch(10);
    const ended = rules.reported(state, report('1', 8, 2, true));
    for (const late of [report('1', 8, 2, true), report('1', 3, 1), report('1', 10, 10)]) {
      expect(rules.reported(ended, late)).toEqual(ended);
    }
    expect(rules.terminalCounts(ended)).toEqual({ completed: 8, failed: 2, cancelled: 0 });
  });

  test('that say less at the end than one before keep what was known', () => {
    const { state } = runningBatch(10);
    const ended = rules.reported(rules.reported(state, report('1', 8, 2)), report('1', 0, 0, true));
    expect(rules.terminalCounts(ended)).toEqual({ completed: 8, failed: 2, cancelled: 0 });
  });

  test('of a runner that nobody knows change nothing', () => {
    const { state } = runningBatch(10);
    expect(rules.reported(state, report('99', 10, 0, true))).toEqual(state);
  });

  test('of several runners add up', () => {
    const { state } = assignRanges(withLongJobs(sealedBatch(60_000)));
    const both = rules.reported(rules.reported(state, report('1', 100, 5)), report('2', 200, 7, true));
    expect(rules.terminalCounts(both)).toEqual({ completed: 300, failed: 12, cancelled: 0 });
  });
});

describe('a lost runner', () => {
  test('is replaced by another one with its range, which counts from zero', () => {
    const { state } = runningBatch(500);
    const half = rules.reported(state, report('1', 200, 50));
    const { state: next, assignment } = rules.runnerLost(half, '1');
    expect(assignment).toEqual({ runner: '2', lane: '', from: 1, to: 500, inline: true });
    expect(rules.terminalCounts(next)).toEqual({ completed: 0, failed: 0, cancelled: 0 });
    const ended = rules.reported(next, report('2', 440, 60, true));
    expect(rules.progressOf(ended)).toMatchObject({ complete: 440, failed: 60, cancelled: 0, pending: 0 });
  });

  test('is not heard any more', () => {
    const { state } = runningBatch(500);
    const { state: next } = rules.runnerLost(state, '1');
    expect(rules.reported(next, report('1', 500, 0, true))).toEqual(next);
  });

  test('that had ended is not replaced', () => {
    const { state } = runningBatch(500);
    const ended = rules.reported(state, report('1', 500, 0, true));
    expect(rules.runnerLost(ended, '1')).toEqual({ state: ended });
  });

  test('does not make room for a third one beside its replacement', () => {
    const { state } = runningBatch(100_000);
    const { state: next } = rules.runnerLost(state, '1');
    expect(assignRanges(next).assignments).toEqual([]);
  });

  test('does not change an outcome that was decided', () => {
    const { state } = runningBatch(500);
    const options = settings({ failWhen: 'immediate' });
    const failed = rules.decided(rules.reported(state, report('1', 0, 1)), options);
    const { state: next } = rules.runnerLost(failed, '1');
    expect(rules.decided(next, options).outcome).toBe('failed');
  });
});

describe('the outcome', () => {
  test.each(['settled', 'immediate'] as const)(
    'is complete once all jobs succeeded, with failWhen %s',
    (failWhen) => {
      const { state } = runningBatch(3);
      const options = settings({ failWhen });
      expect(rules.decided(rules.reported(state, report('1', 2, 0)), options).outcome).toBeNull();
      expect(rules.decided(rules.reported(state, report('1', 3, 0)), options).outcome).toBe('complete');
    },
  );

  test('waits for all jobs after a failed one', () => {
    const { state } = runningBatch(3);
    const oneFailed = rules.reported(state, report('1', 1, 1));
    expect(rules.decided(oneFailed, settings()).outcome).toBeNull();
    expect(rules.decided(rules.reported(oneFailed, report('1', 2, 1, true)), settings()).outcome).toBe(
      'failed',
    );
  });

  test('waits for nothing after a failed job with failWhen immediate', () => {
    const { state } = runningBatch(3);
    const oneFailed = rules.decided(
      rules.reported(state, report('1', 0, 1)),
      settings({ failWhen: 'immediate' }),
    );
    expect(oneFailed.outcome).toBe('failed');
    expect(rules.isSettled(oneFailed)).toBe(false);
    const allDone = rules.reported(oneFailed, report('1', 2, 1, true));
    expect(rules.isSettled(allDone)).toBe(true);
    expect(rules.decided(allDone, settings({ failWhen: 'immediate' })).outcome).toBe('failed');
  });

  test('is failed with failWhen immediate as soon as a failed job is noticed, before it is counted', () => {
    const { state } = runningBatch(3);
    const noticed = rules.decided(
      rules.failuresNoticed(state, { failed: 1 }),
      settings({ failWhen: 'immediate' }),
    );
    expect(noticed.outcome).toBe('failed');
    expect(rules.progressOf(noticed)).toEqual({
      status: 'failed',
      total: 3,
      complete: 0,
      failed: 0,
      cancelled: 0,
      pending: 3,
    });
  });

  test('waits for all jobs after a failed one was noticed', () => {
    const { state } = runningBatch(3);
    const noticed = rules.failuresNoticed(state, { failed: 1 });
    expect(rules.decided(noticed, settings()).outcome).toBeNull();
    expect(rules.decided(rules.reported(noticed, report('1', 2, 1, true)), settings()).outcome).toBe(
      'failed',
    );
  });

  test('does not change when a failed job is noticed late', () => {
    const { state } = runningBatch(3);
    const complete = rules.decided(rules.reported(state, report('1', 3, 0, true)), settings());
    expect(rules.decided(rules.failuresNoticed(complete, { failed: 1 }), settings()).outcome).toBe(
      'complete',
    );
  });

  test.each(['settled', 'immediate'] as const)(
    'is never decided while the block is open, with failWhen %s',
    (failWhen) => {
      const options = settings({ failWhen });
      const { state } = assignRanges(enrolledBatch(3));
      const allFailed = rules.failuresNoticed(rules.reported(state, report('1', 0, 3, true)), { failed: 1 });
      expect(rules.decided(allFailed, options).outcome).toBeNull();
      expect(rules.isSettled(allFailed)).toBe(false);
      expect(rules.decided(rules.sealed(allFailed, message(3), NOW), options).outcome).toBe('failed');
    },
  );

  test('is failed with failWhen immediate when the block broke, while its jobs still run', () => {
    const { state } = runningBatch(3, 'Error: no');
    expect(rules.decided(state, settings({ failWhen: 'immediate' })).outcome).toBe('failed');
    expect(rules.decided(state, settings()).outcome).toBeNull();
  });

  test('is failed when the block broke and all its jobs succeeded', () => {
    const { state } = runningBatch(3, 'Error: no');
    expect(rules.decided(rules.reported(state, report('1', 3, 0, true)), settings()).outcome).toBe('failed');
  });

  test('is failed when the block broke before the first job', () => {
    expect(rules.decided(sealedBatch(0, 'Error: no'), settings()).outcome).toBe('failed');
  });

  test('is decided once', () => {
    const { state } = runningBatch(3);
    const complete = rules.decided(rules.reported(state, report('1', 3, 0)), settings());
    const withFailure = rules.reported(complete, report('1', 3, 1));
    expect(rules.decided(withFailure, settings({ failWhen: 'immediate' })).outcome).toBe('complete');
  });

  test('fires the event of its name', () => {
    expect(rules.eventOf('complete')).toBe('complete');
    expect(rules.eventOf('failed')).toBe('failure');
  });
});

describe('progress', () => {
  test('is pending until the block is closed, then running, then the outcome', () => {
    const { state } = assignRanges(enrolledBatch(2));
    const sealed = rules.sealed(state, message(2), NOW);
    const decided = rules.decided(rules.reported(sealed, report('1', 2, 0, true)), settings());
    const statuses = [rules.initialBatch(NOW), state, sealed, decided].map(
      (each) => rules.progressOf(each).status,
    );
    expect(statuses).toEqual(['pending', 'pending', 'running', 'complete']);
  });

  test('counts jobs that completed while the block is open', () => {
    const { state } = assignRanges(enrolledBatch(5));
    expect(rules.progressOf(rules.reported(state, report('1', 2, 1)))).toEqual({
      status: 'pending',
      total: 5,
      complete: 2,
      failed: 1,
      cancelled: 0,
      pending: 2,
    });
  });
});

describe('callbacks', () => {
  test.each(EVENTS)('can be registered for %s at any time before it fired', (event) => {
    for (const state of [rules.initialBatch(NOW), openBatch(), runningBatch(3).state]) {
      expect(rules.refuseRegistration(state, registration(event))).toBeUndefined();
      expect(rules.registered(state, registration(event)).callbacks[event]).toEqual(registration(event));
    }
  });

  test('can be registered twice: the second time is a retry', () => {
    const state = rules.registered(openBatch(), registration('complete'));
    expect(rules.refuseRegistration(state, registration('complete'))).toBeUndefined();
    expect(rules.registered(state, registration('complete'))).toEqual(state);
  });

  test('are one an event', () => {
    const state = rules.registered(openBatch(), registration('complete'));
    expect(rules.refuseRegistration(state, registration('complete', 'Another'))).toMatchObject({
      code: 'CALLBACK_ALREADY_REGISTERED',
      message: expect.stringContaining('"Notify"'),
    });
    expect(rules.refuseRegistration(state, registration('failure', 'Another'))).toBeUndefined();
  });

  test('cannot be registered for an event that has fired or can no longer fire', () => {
    const complete = rules.decided(
      rules.reported(runningBatch(3).state, report('1', 3, 0, true)),
      settings(),
    );
    const closed = rules.eventsClosed(complete, ['complete', 'failure']);
    for (const event of ['complete', 'failure'] as const) {
      expect(rules.refuseRegistration(closed, registration(event))).toMatchObject({
        code: 'BATCH_SETTLED',
        message: expect.stringMatching(`The batch is complete: '${event}' has fired`),
      });
    }
    expect(rules.refuseRegistration(closed, registration('settled'))).toBeUndefined();
  });

  test('that are registered stay so when a retry of the registration comes after the event', () => {
    const state = rules.eventsClosed(rules.registered(openBatch(), registration('complete')), ['complete']);
    expect(rules.refuseRegistration(state, registration('complete'))).toBeUndefined();
    expect(rules.refuseRegistration(state, registration('complete', 'Another'))).toMatchObject({
      code: 'BATCH_SETTLED',
    });
  });

  test('are closed once each, however often that is said', () => {
    const once = rules.eventsClosed(openBatch(), ['complete', 'failure']);
    expect(rules.eventsClosed(once, ['failure', 'complete']).closedEvents).toEqual(['complete', 'failure']);
  });

  test('are remembered as fired', () => {
    expect(rules.fired(rules.fired(openBatch(), 'failure'), 'settled').fired).toEqual(['failure', 'settled']);
  });
});

test('remembers what was written to the mirror', () => {
  const state = rules.wrote(rules.wrote(openBatch(), 'created'), 'sealed');
  expect(state.written).toEqual({
    created: true,
    sealed: true,
    outcome: false,
    settled: false,
    workflowsCancelled: false,
  });
});

test('keeps a state whose size does not depend on the number of jobs', () => {
  let state = assignRanges(enrolledBatch(1_000)).state;
  const sizeAt = (upTo: number) => {
    state = rules.enrolled(state, message(upTo), NOW);
    for (let next = assignRanges(state); next.assignments.length > 0; next = assignRanges(state)) {
      state = next.state;
      for (const { runner, from, to } of next.assignments) {
        state = rules.reported(state, report(runner, to - from + 1, 0, true));
      }
    }
    return JSON.stringify(state).length;
  };
  const atThousands = sizeAt(10_000);
  expect(sizeAt(100_000_000)).toBeLessThan(atThousands + 100);
});

type Event =
  | { kind: 'enrolled'; token: string; upTo: number; queues: readonly string[] }
  | { kind: 'report'; report: RunnerReport }
  | { kind: 'noticed' };

interface WorldRunner {
  readonly assignment: Assignment;
  /** Positions of its lane that it has not come to. */
  left: number[];
  completed: number;
  failed: number;
}

/**
 * A batch in a world where messages are late, repeated and out of order, runners vanish and enqueuers die. The world
 * knows each job's row; the state is compared with the rows after every event.
 */
class BatchWalk {
  readonly #random: Random;
  readonly #settings: BatchSettings;
  readonly #jobs: readonly { readonly queue: string; readonly outcome: 'complete' | 'failed' }[];
  readonly #blockError: string | undefined;
  /** On their way to the batch, in no order. */
  #messages: Event[] = [];
  #delivered: Event[] = [];
  #written = 0;
  #isEnqueuerDone = false;
  readonly #isSteered: boolean;
  #losses: number;
  readonly #runners = new Map<string, WorldRunner>();
  readonly #handedOut = new Set<string>();
  readonly #rows = new Map<number, 'complete' | 'failed'>();
  #state = rules.initialBatch(NOW);
  #log: string[] = [];

  constructor(random: Random) {
    this.#random = random;
    this.#settings = settings({
      failWhen: random.pick(['settled', 'immediate']),
      failWhenFailed: random.pick(['any', 'any', 'all', { moreThan: 2 }, { moreThan: '20%' }]),
      afterFailure: random.pick(['continue', 'continue', 'cancelRemaining']),
      deadlineAt: random.chance(0.2) ? NOW + 1_000 : null,
      afterDeadline: random.pick(['fail', 'cancel']),
    });
    this.#isSteered = random.chance(0.3);
    const failures = random.pick([0, 0, 0.1, 1]);
    const queues = random.pick([[''], ['', 'gpu'], ['gpu', 'mail'], ['', 'gpu', 'mail']]);
    this.#jobs = Array.from({ length: random.chance(0.1) ? random.int(90, 260) : random.int(0, 12) }, () => ({
      queue: random.pick(queues),
      outcome: random.chance(failures) ? 'failed' : 'complete',
    }));
    this.#blockError = random.chance(0.15) ? 'Error: the block broke' : undefined;
    this.#losses = random.int(0, 4);
  }

  run(): BatchState {
    try {
      const isNeverOpened = this.#random.chance(0.05);
      const mayTimeOut = isNeverOpened || this.#random.chance(0.15);
      if (!isNeverOpened) this.#open();
      for (let step = 0; !this.#isOver(); step++) {
        if (step > 20_000) throw new Error('The batch does not end');
        if (mayTimeOut && this.#state.enrollment.phase !== 'sealed' && this.#random.chance(0.05))
          this.#timeOut();
        else if (!isNeverOpened) this.#step();
      }
      this.#expectTheEnd();
    } catch (error) {
      const tail = this.#log.slice(-12).join('\n  ');
      throw new Error(
        `${(error as Error).message}\nLast events:\n  ${tail}\nState: ${JSON.stringify(this.#state)}`,
        {
          cause: error,
        },
      );
    }
    return this.#state;
  }

  /** Also when the batch has settled: what still comes must not change it. */
  #isOver(): boolean {
    return (
      this.#state.enrollment.phase === 'sealed' &&
      (!this.#state.isPaused || rules.isSettled(this.#state)) &&
      this.#messages.length === 0 &&
      this.#runners.size === 0
    );
  }

  #open(): void {
    this.#hold(rules.refuseOpen(this.#state) === undefined, 'the first opening is taken');
    this.#apply(rules.opened(this.#state, TOKEN, NOW), 'opened');
  }

  #timeOut(): void {
    if (this.#state.stop) return;
    this.#apply(rules.enrollmentTimedOut(this.#state, this.#settings), 'timed out');
  }

  #step(): void {
    const kind = this.#random.pick([
      'enqueue',
      'deliver',
      'deliver',
      'work',
      'work',
      'repeat',
      'stranger',
      'lose',
      'restart',
      'steer',
    ]);
    if (kind === 'enqueue') this.#enqueue();
    else if (kind === 'deliver') this.#deliver();
    else if (kind === 'work') this.#work();
    else if (kind === 'repeat') this.#repeat();
    else if (kind === 'stranger') this.#stranger();
    else if (kind === 'lose') this.#lose();
    else if (kind === 'steer') this.#steer();
    else this.#restart();
  }

  /** Somebody pauses, resumes, changes or cancels the batch, or its deadline passes. */
  #steer(): void {
    const state = this.#state;
    // A batch that is paused for ever does not end.
    const kind = state.isPaused
      ? this.#random.pick(['resume', 'resume', 'cancel'])
      : this.#random.pick(['pause', 'update', 'cancel', 'deadline', 'none', 'none', 'none', 'none']);
    const request = { reason: 'by an operator', graceMs: 1 };
    if (kind === 'deadline') {
      if (this.#random.chance(0.3))
        this.#apply(rules.deadlinePassed(state, this.#settings, NOW + 1_000), 'deadline');
      return;
    }
    if (!this.#isSteered || kind === 'none') return;
    const isOver = rules.isSettled(state) || state.stop !== null;
    this.#hold((rules.refusePause(state) !== undefined) === isOver, 'what is over cannot be paused');
    this.#hold(
      (rules.refuseCancel(state, request) !== undefined) === (isOver && state.stop === null),
      'what has settled cannot be cancelled',
    );
    if (kind === 'cancel') this.#apply(rules.cancelled(state, request), kind);
    else if (isOver) return;
    else if (kind === 'update')
      this.#apply(rules.updated(state, { failWhenFailed: this.#random.pick(['any', 'all']) }), kind);
    else this.#apply(rules.paused(state, kind === 'pause'), kind);
  }

  #enqueue(): void {
    if (this.#isEnqueuerDone) return;
    this.#written = Math.min(
      this.#jobs.length,
      this.#written + this.#random.int(0, 1 + this.#jobs.length / 3),
    );
    const queues = [...new Set(this.#jobs.slice(0, this.#written).map(({ queue }) => queue))].filter(Boolean);
    const block = message(this.#written, queues);
    if (this.#written < this.#jobs.length && !(this.#blockError && this.#random.chance(0.3))) {
      this.#messages.push({ kind: 'enrolled', ...block });
      return;
    }
    // The seal is an update: it is answered, or it was refused.
    this.#isEnqueuerDone = true;
    const isClosed = this.#state.enrollment.phase === 'sealed';
    this.#hold(
      (rules.refuseSeal(this.#state, seal(TOKEN)) === undefined) === !isClosed,
      'the seal is refused after a timeout or a stop only',
    );
    if (isClosed) return;
    const error = this.#blockError === undefined ? {} : { error: this.#blockError };
    this.#apply(rules.sealed(this.#state, { ...block, ...error }, NOW), `sealed with ${this.#written}`);
    this.#hold(this.#state.enrolled === this.#written, 'the total is what the block wrote');
  }

  #deliver(): void {
    if (this.#messages.length === 0) return;
    const [event] = this.#messages.splice(this.#random.int(0, this.#messages.length - 1), 1);
    this.#delivered.push(event!);
    this.#receive(event!);
  }

  #repeat(): void {
    if (this.#delivered.length > 0) this.#receive(this.#random.pick(this.#delivered));
  }

  #receive(event: Event): void {
    const before = rules.terminalCounts(this.#state);
    const what = JSON.stringify(event);
    if (event.kind === 'enrolled') this.#apply(rules.enrolled(this.#state, event, NOW), what);
    else if (event.kind === 'noticed') this.#apply(rules.failuresNoticed(this.#state, { failed: 1 }), what);
    else this.#apply(rules.reported(this.#state, event.report), what);
    const after = rules.terminalCounts(this.#state);
    this.#hold(
      after.completed >= before.completed && after.failed >= before.failed,
      'no message takes counts back',
    );
  }

  /** Another process with another block. */
  #stranger(): void {
    this.#hold(
      rules.refuseSeal(this.#state, seal(OTHER)) !== undefined,
      'the seal of a second block is refused',
    );
    const before = JSON.stringify(this.#state);
    this.#apply(
      rules.enrolled(this.#state, message(999, ['nowhere'], OTHER), NOW),
      'a message of another block',
    );
    this.#hold(JSON.stringify(this.#state) === before, 'messages of another block change nothing');
  }

  #work(): void {
    if (this.#runners.size === 0) return;
    const [id, runner] = this.#random.pick([...this.#runners]);
    // A runner hears of the stop some time later: what it has not begun is left.
    if (this.#state.stop && this.#random.chance(0.5)) runner.left = [];
    for (const position of runner.left.splice(0, this.#random.int(0, 1 + runner.left.length / 2))) {
      const { outcome } = this.#jobs[position - 1]!;
      this.#rows.set(position, outcome);
      if (outcome === 'complete') runner.completed++;
      else {
        runner.failed++;
        if (rules.noticesFailures(this.#state, this.#settings) && this.#random.chance(0.5))
          this.#messages.push({ kind: 'noticed' });
      }
    }
    const ended = runner.left.length === 0;
    if (ended) this.#runners.delete(id);
    const { completed, failed } = runner;
    this.#messages.push({ kind: 'report', report: { runner: id, completed, failed, ended } });
  }

  #lose(): void {
    if (this.#losses === 0) return;
    // Also one that ended, whose last report has not come yet.
    const id = String(this.#random.int(1, Math.max(1, this.#state.runnersStarted)));
    const isCounted = this.#state.runners[id] === undefined;
    const { state, assignment } = rules.runnerLost(this.#state, id);
    this.#hold(
      (assignment === undefined) === (isCounted || this.#state.stop !== null),
      'a lost runner is replaced if it was not counted yet, and the batch was not stopped',
    );
    if (isCounted) return;
    this.#losses--;
    this.#runners.delete(id);
    if (!assignment) {
      this.#apply(state, `lost runner ${id}, for good`);
      return;
    }
    this.#start(assignment);
    this.#apply(state, `lost runner ${id}`);
  }

  /** Continue-as-new carries the state as JSON. */
  #restart(): void {
    const copy = JSON.parse(JSON.stringify(this.#state)) as BatchState;
    expect(copy).toEqual(this.#state);
    this.#state = copy;
  }

  /** What the batch workflow does with every change. */
  #apply(changed: BatchState, what: string): void {
    this.#log.push(what);
    const before = this.#state;
    const { state, assignments } = assignRanges(rules.decided(changed, this.#settings));
    this.#state = state;
    for (const assignment of assignments) {
      this.#log.push(`started ${JSON.stringify(assignment)}`);
      for (let position = assignment.from; position <= assignment.to; position++) {
        const key = `${assignment.lane}/${position}`;
        this.#hold(!this.#handedOut.has(key), `position ${key} is handed out once`);
        this.#handedOut.add(key);
      }
      this.#start(assignment);
    }
    this.#expectInvariants(before);
  }

  #start(assignment: Assignment): void {
    const { runner, lane, from, to } = assignment;
    const positions = Array.from({ length: to - from + 1 }, (_, index) => from + index);
    const left = positions.filter((position) => this.#jobs[position - 1]!.queue === lane);
    this.#runners.set(runner, { assignment, left, completed: 0, failed: 0 });
  }

  #expectInvariants(before: BatchState): void {
    const state = this.#state;
    const { total, complete, failed, cancelled, pending } = rules.progressOf(state);
    const { completed: rowsComplete, failed: rowsFailed } = this.#rowCounts();
    const isSealed = state.enrollment.phase === 'sealed';
    const isSettled = rules.isSettled(state);
    const phases = ['unopened', 'open', 'sealed'];
    this.#hold(before.outcome === null || state.outcome === before.outcome, 'the outcome is decided once');
    this.#hold(isSealed || state.outcome === null, 'nothing is decided before the seal');
    this.#hold(isSealed || !isSettled, 'nothing settles before the seal');
    this.#hold(state.enrolled >= before.enrolled, 'the watermark never goes down');
    this.#hold(before.enrollment.phase !== 'sealed' || total === before.enrolled, 'the seal fixes the total');
    this.#hold(
      phases.indexOf(state.enrollment.phase) >= phases.indexOf(before.enrollment.phase),
      'the block is never opened again',
    );
    this.#hold(
      total === complete + failed + cancelled + pending && pending >= 0 && cancelled >= 0,
      'total = complete + failed + cancelled + pending',
    );
    this.#hold(
      cancelled === 0 || (isSettled && state.stop !== null),
      'only a stopped batch has cancelled jobs',
    );
    this.#hold(before.stop === null || state.stop === before.stop, 'the first stop wins');
    this.#hold(
      before.stop === null || Object.keys(state.runners).every((runner) => before.runners[runner]),
      'nothing starts after the stop',
    );
    this.#hold(!before.isPaused || state.isPaused || state.steering > before.steering, 'resuming is told');
    this.#hold(complete <= rowsComplete && failed <= rowsFailed, 'no job is counted that is not terminal');
    const isOver = state.stop !== null && Object.keys(state.runners).length === 0;
    this.#hold(
      isSettled === (isSealed && (isOver || complete + failed === total)),
      'settled is: sealed, and all jobs counted or the rest cancelled',
    );
    this.#hold(!isSettled || state.outcome !== null, 'a settled batch is decided');
    this.#hold(
      state.outcome === null ||
        this.#settings.failWhen === 'immediate' ||
        before.outcome !== null ||
        state.outcome === 'cancelled' ||
        isSettled,
      'with failWhen settled nothing is decided before all jobs are terminal',
    );
    const { failWhenFailed } = rules.policyOf(state, this.#settings);
    const hasFailure =
      state.enrollment.error !== null ||
      (failWhenFailed === 'any' && (failed > 0 || state.failuresNoticed > 0));
    this.#hold(
      !(this.#settings.failWhen === 'immediate' && isSealed && hasFailure) ||
        state.outcome === 'failed' ||
        state.stop?.outcome === 'cancelled' ||
        // A policy that tolerated the failure may have decided before.
        (this.#isSteered && state.outcome !== null),
      'with failWhen immediate a failure decides',
    );
  }

  #expectTheEnd(): void {
    const { enrolled, enrollment, outcome } = this.#state;
    const members = this.#jobs.slice(0, enrolled);
    expect(outcome).not.toBeNull();
    expect(rules.isSettled(this.#state)).toBe(true);
    expect(this.#state.runners).toEqual({});
    const { stop } = this.#state;
    if (stop) {
      if (stop.outcome === 'cancelled') expect(['cancelled', 'failed']).toContain(outcome);
      else expect(outcome).toBe('failed');
      return;
    }
    const failed = members.filter((job) => job.outcome === 'failed').length;
    const { failWhenFailed } = rules.policyOf(this.#state, this.#settings);
    // A policy that changed while the batch ran may have decided before.
    const isDecidedBefore = this.#isSteered && this.#settings.failWhen === 'immediate';
    const isFailed = enrollment.error !== null || isExceeded(failWhenFailed, failed, enrolled);
    expect(rules.progressOf(this.#state)).toEqual({
      status: isDecidedBefore ? outcome : isFailed ? 'failed' : 'complete',
      total: enrolled,
      complete: enrolled - failed,
      failed,
      cancelled: 0,
      pending: 0,
    });
    expect([...this.#rows.keys()].sort((a, b) => a - b)).toEqual(members.map((_, index) => index + 1));
  }

  #rowCounts() {
    let completed = 0;
    for (const row of this.#rows.values()) if (row === 'complete') completed++;
    return { completed, failed: this.#rows.size - completed };
  }

  #hold(isTrue: boolean, invariant: string): void {
    if (!isTrue) throw new Error(`Does not hold: ${invariant}`);
  }
}

test('decides each batch once and counts each job once, whatever comes late, twice or out of order', async () => {
  const seen = new Set<string>();
  await forSeeds(3_000, (random) => {
    const state = new BatchWalk(random).run();
    const { outcome, enrollment, runnersStarted, stop, steering } = state;
    seen.add(`${outcome}`);
    if (rules.progressOf(state).cancelled > 0) seen.add('cancelled jobs');
    if (stop?.outcome === 'failed') seen.add('stopped by itself');
    if (stop === null && steering > 0) seen.add('paused');
    if (enrollment.timedOut) seen.add('timed out');
    if (runnersStarted > 4) seen.add('many runners');
  });
  // The walks reach all of these; else they would prove little.
  expect([...seen].sort()).toEqual([
    'cancelled',
    'cancelled jobs',
    'complete',
    'failed',
    'many runners',
    'paused',
    'stopped by itself',
    'timed out',
  ]);
}, 60_000);

describe('a row that says more than the workflow has written', () => {
  const stop = { outcome: 'failed', reason: 'a job has failed', graceMs: 100 } as const;

  test('is written once more when a chunk has found it', () => {
    const { state } = runningBatch(10);
    const heard = rules.reported(state, { ...report('1', 0, 0), steering: 7 });
    expect(rules.isSteeringWritten(heard)).toBe(false);
    expect(heard.steering).toBe(7);
    expect(rules.reported(heard, { ...report('1', 0, 0), steering: 7 })).toEqual(heard);
  });

  test('gets what is true now under a higher number', () => {
    const { state } = runningBatch(10);
    const next = rules.steeredBefore(rules.wroteSteering(rules.paused(state, true), 1), {
      steering: 3,
      stop: null,
    });
    expect(next).toMatchObject({ isPaused: true, steering: 4, stop: null });
    expect(rules.isSteeringWritten(next)).toBe(false);
  });

  test('keeps its stop', () => {
    const paused = rules.wroteSteering(rules.paused(runningBatch(10).state, true), 1);
    const next = rules.steeredBefore(paused, { steering: 1, stop });
    expect(next).toMatchObject({ stop, isPaused: false });
    expect(next.steering).toBeGreaterThan(1);
    const other = { ...stop, reason: 'another' };
    expect(rules.steeredBefore(next, { steering: 9, stop: other })).toMatchObject({ stop, steering: 10 });
  });
});

describe('what cannot be', () => {
  test.each([
    report('1', 11, 0, true),
    report('1', 6, 5),
    report('1', -1, 0),
    report('1', 0.5, 0),
    report('1', NaN, 0, true),
    report('1', undefined as never, 0, true),
    { ...report('1', 0, 0), steering: NaN },
    { ...report('1', 0, 0), steering: 2 ** 31 },
    { ...report('1', 0, 0), steering: 'many' as never },
    report('constructor', 1, 0),
  ])('is ignored when a runner of 10 jobs reports %j', (garbage) => {
    const { state } = runningBatch(10);
    expect(rules.reported(state, garbage)).toEqual(state);
  });

  test.each([
    registration('done' as BatchEvent),
    registration('complete', ''),
    { ...registration('complete'), startToCloseTimeoutMs: undefined as never },
    { ...registration('complete'), startToCloseTimeoutMs: 0 },
    { ...registration('complete'), retry: null as never },
  ])('is refused as a registration: %j', (garbage) => {
    expect(rules.refuseRegistration(openBatch(), garbage)).toMatchObject({ code: 'INVALID_OPTION' });
  });
});

describe('a batch whose runners ended without all jobs', () => {
  const stranded = () => {
    const { state, assignments } = runningBatch(10);
    return rules.reported(state, report(assignments[0]!.runner, 7, 1, true));
  };

  test('is stranded, and no other is', () => {
    const { state, assignments } = runningBatch(10);
    expect(rules.isStranded(stranded())).toBe(true);
    expect(rules.isStranded(state)).toBe(false);
    expect(rules.isStranded(sealedBatch(10))).toBe(false);
    expect(rules.isStranded(sealedBatch(0, 'broken'))).toBe(false);
    expect(rules.isStranded(rules.reported(state, report(assignments[0]!.runner, 9, 1, true)))).toBe(false);
    const open = assignRanges(enrolledBatch(10));
    expect(rules.isStranded(rules.reported(open.state, report('1', 7, 0, true)))).toBe(false);
  });

  test('counts again from the rows: every job of every lane is handed out once more', () => {
    const queues = ['other'];
    const lanes = rules.enrolled(openBatch(), message(300, queues), NOW);
    let { state, assignments } = assignRanges(rules.sealed(lanes, message(300, queues), NOW));
    for (const { runner } of assignments) state = rules.reported(state, report(runner, 100, 0, true));
    expect(rules.isStranded(state)).toBe(true);
    ({ state, assignments } = assignRanges(rules.recounted(state, [])));
    expect(assignments.map(({ lane, from, to }) => [lane, from, to])).toEqual([
      ['', 1, 300],
      ['other', 1, 300],
    ]);
    expect(rules.progressOf(state)).toMatchObject({ complete: 0, failed: 0, cancelled: 0, pending: 300 });
    state = rules.reported(state, report(assignments[0]!.runner, 150, 0, true));
    state = rules.reported(state, report(assignments[1]!.runner, 150, 0, true));
    expect(rules.decided(state, settings()).outcome).toBe('complete');
  });

  test('counts again what is on task queues of which only the rows know', () => {
    const { state, assignments } = assignRanges(rules.recounted(stranded(), ['other']));
    expect(assignments.map(({ lane, from, to }) => [lane, from, to])).toEqual([
      ['', 1, 10],
      ['other', 1, 10],
    ]);
    expect(rules.isStranded(state)).toBe(false);
  });
});

test('a callback is run by a workflow of its own until it is over, once', () => {
  const firing = rules.firing(rules.firing(openBatch(), 'failure'), 'failure');
  expect(firing.firing).toEqual(['failure']);
  const over = rules.fired(rules.fired(firing, 'failure'), 'failure');
  expect(over).toMatchObject({ firing: [], fired: ['failure'] });
});
