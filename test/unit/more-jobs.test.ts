import { describe, expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import type { Assignment } from '../../workflows/ranges.ts';
import type { BatchSettings, BatchState, Growth } from '../../workflows/batch-state.ts';
import * as more from '../../workflows/more-jobs.ts';
import { isExceeded } from '../../workflows/failure-policy.ts';
import { SETTINGS } from '../support/facts.ts';
import { forSeeds, type Random } from '../support/random.ts';

const NOW = 1_000_000;
const RUN = 'run-1';
const LATER = { runId: RUN, now: NOW + 5 };

const settings = (overrides: Partial<BatchSettings> = {}): BatchSettings => ({ ...SETTINGS, ...overrides });

const added = (upTo: number, queues: readonly string[] = []) => ({ runId: RUN, upTo, queues });

function openEnded(): BatchState {
  return rules.initialBatch(NOW, { runId: RUN, isOpenEnded: true });
}

/** A sealed batch whose jobs have run. */
function settledBatch(jobs: number): BatchState {
  const open = rules.opened(rules.initialBatch(NOW), 't', NOW);
  const sealed = rules.wrote(rules.sealed(open, { token: 't', upTo: jobs, queues: [] }, NOW), 'sealed');
  const { state } = rules.assignRanges(sealed, settings());
  const done = rules.reported(state, { runner: '1', completed: jobs, failed: 0, ended: true });
  return rules.decided(done, settings());
}

describe('jobs that a handler added', () => {
  test('move the watermark up, and are handed out', () => {
    const state = more.jobsAdded(settledBatch(3), added(5, ['gpu']), LATER);
    expect(rules.progressOf(state)).toMatchObject({ total: 5, complete: 3, pending: 2, status: 'running' });
    const { assignments } = rules.assignRanges(state, settings());
    expect(assignments).toMatchObject([
      { lane: '', from: 4, to: 5 },
      { lane: 'gpu', from: 4, to: 5 },
    ]);
  });

  test('take back an outcome that is not written', () => {
    const before = settledBatch(3);
    expect(before.outcome).toBe('complete');
    expect(more.jobsAdded(before, added(4), LATER).outcome).toBeNull();
    const written = rules.wrote({ ...before, outcome: 'failed' }, 'outcome');
    expect(more.jobsAdded(written, added(4), LATER)).toMatchObject({ outcome: 'failed', enrolled: 4 });
  });

  test.each([
    ['a watermark that is known', added(3)],
    ['an earlier one', added(1, ['gpu'])],
    ['a message to an earlier batch of this id', { ...added(9), runId: 'run-0' }],
    ['one that makes no sense', added(-1)],
    ['another one', { ...added(9), queues: undefined as never }],
  ])('change nothing by %s', (_what, message) => {
    expect(more.jobsAdded(settledBatch(3), message, LATER)).toEqual(settledBatch(3));
  });

  test('change nothing once the batch was stopped, has settled, or was never opened', () => {
    const stopped = rules.cancelled(rules.opened(rules.initialBatch(NOW), 't', NOW), {
      reason: 'r',
      graceMs: 1,
    });
    const over = more.wroteEnding(settledBatch(3), more.endingOf(settledBatch(3))!);
    for (const state of [stopped, over, rules.initialBatch(NOW)]) {
      expect(more.jobsAdded(state, added(9), LATER)).toEqual(state);
    }
  });

  test('are a sign of life of an open-ended batch, and not of a block', () => {
    expect(more.jobsAdded(openEnded(), added(1), LATER).enrollment.heardAt).toBe(NOW + 5);
    const block = rules.opened(rules.initialBatch(NOW), 't', NOW);
    expect(more.jobsAdded(block, added(1), LATER).enrollment.heardAt).toBe(NOW);
  });
});

describe('an open-ended batch', () => {
  const message = (upTo: number, queues: readonly string[] = []) => ({ token: RUN, upTo, queues });

  test('is open from its creation on, for all who know its token', () => {
    expect(rules.refuseOpen(openEnded())).toMatchObject({ code: 'ALREADY_ENROLLED' });
    expect(rules.enrolled(openEnded(), message(3), NOW).enrolled).toBe(3);
    expect(rules.quietTimeMs(openEnded(), settings())).toBe(86_400_000);
  });

  test('is not judged before its row has said how many jobs it has', () => {
    const { state } = rules.assignRanges(rules.enrolled(openEnded(), message(2), NOW), settings());
    const done = rules.reported(state, { runner: '1', completed: 1, failed: 1, ended: true });
    const immediate = settings({ failWhen: 'immediate', failWhenFailed: { moreThan: '10%' } });
    const sealing = rules.decided(rules.sealed(done, message(0), NOW), immediate);
    expect(sealing.enrollment.phase).toBe('sealing');
    expect(rules.progressOf(sealing)).toMatchObject({ status: 'pending', total: 2 });
    expect(sealing.outcome).toBeNull();
    const sealed = rules.decided(more.wroteSeal(sealing, { total: 10, queues: [], error: null }), immediate);
    expect(sealed).toMatchObject({ enrolled: 10, outcome: null, enrollment: { phase: 'sealed' } });
  });

  test('can be sealed twice, and takes no block after that', () => {
    const sealing = rules.sealed(openEnded(), message(0), NOW);
    for (const state of [sealing, more.wroteSeal(sealing, { total: 1, queues: [], error: null })]) {
      expect(rules.refuseSeal(state, message(0))).toBeUndefined();
      expect(rules.sealed(state, message(7), NOW)).toEqual(state);
      expect(rules.enrolled(state, message(7), NOW)).toEqual(state);
      expect(rules.quietTimeMs(state, settings())).toBeUndefined();
    }
  });

  test('is removed if its row has no jobs, and not before that is known', () => {
    const sealing = rules.sealed(openEnded(), message(0), NOW);
    expect(rules.isDiscarded(sealing)).toBe(false);
    expect(rules.isDiscarded(more.wroteSeal(sealing, { total: 0, queues: [], error: null }))).toBe(true);
    expect(rules.isDiscarded(more.wroteSeal(sealing, { total: 1, queues: [], error: null }))).toBe(false);
  });

  test('closes itself when nothing is heard of it, and fails', () => {
    const closed = rules.enrollmentTimedOut(openEnded(), settings());
    expect(closed.enrollment).toMatchObject({ phase: 'sealing', timedOut: true });
    expect(closed.enrollment.error).toMatch(/was not sealed.*openTimeout/);
    expect(rules.refuseSeal(closed, message(0))).toMatchObject({ code: 'ENROLLMENT_TIMED_OUT' });
    const sealed = more.wroteSeal(closed, { total: 0, queues: [], error: closed.enrollment.error });
    expect(rules.decided(sealed, settings()).outcome).toBe('failed');
  });
});

describe('a block that is taken over', () => {
  const open = rules.opened(rules.initialBatch(NOW), 'old', NOW);

  test('leaves its process unheard from then on', () => {
    expect(rules.refuseOpen(open)).toBeUndefined();
    const taken = rules.takenOver(open, 'new', NOW + 1);
    expect(rules.enrolled(taken, { token: 'old', upTo: 5, queues: [] }, NOW)).toEqual(taken);
    expect(rules.refuseSeal(taken, { token: 'old', upTo: 5, queues: [] })).toMatchObject({
      code: 'ALREADY_ENROLLED',
    });
  });

  test('counts its openings, and a repeated one as one', () => {
    const openings = (state: BatchState) => state.enrollment.openings;
    expect(openings(open)).toBe(1);
    expect(openings(rules.opened(open, 'old', NOW))).toBe(1);
    const taken = rules.takenOver(open, 'new', NOW);
    expect(openings(taken)).toBe(2);
    expect(openings(rules.takenOver(taken, 'new', NOW))).toBe(2);
    expect(openings(rules.takenOver(taken, 'newer', NOW))).toBe(3);
  });

  test('counts as the second opening before the first was heard, which it then never is', () => {
    const taken = rules.takenOver(rules.initialBatch(NOW, { runId: RUN }), 'new', NOW);
    expect(taken.enrollment).toMatchObject({ phase: 'open', token: 'new', openings: 2 });
    expect(rules.enrolled(taken, { token: `${RUN}/first`, upTo: 5, queues: [] }, NOW)).toEqual(taken);
  });

  test('cannot be taken over once it is closed', () => {
    const sealed = rules.sealed(open, { token: 'old', upTo: 1, queues: [] }, NOW);
    expect(rules.refuseOpen(sealed)).toMatchObject({ code: 'ALREADY_ENROLLED' });
  });
});

describe('the end', () => {
  test('holds for all jobs that are known, or however many there are', () => {
    expect(more.endingOf(settledBatch(3))).toEqual({
      outcome: 'complete',
      settled: true,
      fires: ['complete', 'settled'],
      never: ['failure', 'cancelled', 'idle'],
      total: 3,
    });
    const running = { ...settledBatch(3), completed: 1, outcome: 'failed' } as const;
    expect(more.endingOf(running)).toMatchObject({ settled: false, fires: ['failure'], total: null });
    const stopped = { ...settledBatch(3), stop: { outcome: 'failed', reason: 'r', graceMs: 1 } } as const;
    expect(more.endingOf(stopped)).toMatchObject({ settled: true, total: null });
    expect(more.endingOf({ ...settledBatch(3), outcome: null })).toBeUndefined();
  });

  test('that is written stays, whatever came while it was', () => {
    const running = { ...settledBatch(3), completed: 1, outcome: 'failed' } as const;
    const ending = more.endingOf(running)!;
    const meanwhile = more.jobsAdded(running, added(9), LATER);
    expect(meanwhile.outcome).toBeNull();
    const written = more.wroteEnding(meanwhile, ending);
    expect(written).toMatchObject({
      outcome: 'failed',
      enrolled: 9,
      written: { outcome: true, settled: false },
      closedEvents: ['failure', 'complete', 'cancelled'],
    });
  });
});

interface Job {
  readonly queue: string;
  readonly outcome: 'complete' | 'failed';
  /** What it adds to its batch before it ends. */
  readonly adds: readonly Job[];
}

interface WorldRunner {
  readonly assignment: Assignment;
  left: number[];
  completed: number;
  failed: number;
}

/** What the mirror's row and the rows of its jobs say. */
interface Rows {
  readonly jobs: Job[];
  readonly ended: Map<number, Job['outcome']>;
  queues: string[];
  isSealed: boolean;
  isStopped: boolean;
  isSettled: boolean;
  outcome: string | null;
}

/**
 * A batch to which blocks and handlers add jobs: each commits rows, under the row's lock, and tells the batch some time
 * later, or never. The batch's own writes take their time, too: what is read and what comes of it are two steps.
 */
class GrowingWalk {
  readonly #random: Random;
  readonly #settings: BatchSettings;
  readonly #rows: Rows = {
    jobs: [],
    ended: new Map(),
    queues: [],
    isSealed: false,
    isStopped: false,
    isSettled: false,
    outcome: null,
  };
  #toEnrol: Job[];
  /** Told to the batch in any order, and again. */
  #messages: Growth[] = [];
  readonly #delivered: Growth[] = [];
  readonly #runners = new Map<string, WorldRunner>();
  readonly #handedOut = new Set<string>();
  /** Of a write that is under way: what is left to do when it is done. */
  #writing: (() => void) | undefined;
  #state = openEnded();
  #isSealAsked = false;
  readonly #isCancelled: boolean;

  constructor(random: Random) {
    this.#random = random;
    this.#isCancelled = random.chance(0.2);
    this.#settings = settings({
      autoSeal: false,
      failWhen: random.pick(['settled', 'immediate']),
      failWhenFailed: random.pick(['any', 'all', { moreThan: 1 }, { moreThan: '20%' }]),
      afterFailure: random.pick(['continue', 'continue', 'cancelRemaining']),
    });
    const failures = random.pick([0, 0.1, 0.5]);
    const job = (depth: number): Job => ({
      queue: random.pick(['', '', 'gpu', 'mail']),
      outcome: random.chance(failures) ? 'failed' : 'complete',
      adds: depth === 0 ? [] : Array.from({ length: random.int(0, 2) }, () => job(depth - 1)),
    });
    this.#toEnrol = Array.from({ length: random.int(1, 8) }, () => job(random.int(0, 4)));
  }

  run(): { state: BatchState; jobs: number; wasGrown: boolean; added: number } {
    const enrolled = this.#toEnrol.length;
    for (let step = 0; !this.#state.written.settled; step++) {
      if (step > 20_000) throw new Error(`The batch does not end: ${JSON.stringify(this.#state)}`);
      this.#step();
    }
    // What still comes changes nothing.
    const end = this.#state;
    for (const message of [...this.#messages, ...this.#delivered]) this.#hear(message);
    expect(this.#state).toEqual(end);
    this.#expectTheEnd();
    return {
      state: end,
      jobs: this.#rows.jobs.length,
      wasGrown: this.#wasGrown,
      added: this.#rows.jobs.length - enrolled,
    };
  }

  #wasGrown = false;

  #step(): void {
    const kind = this.#random.pick([
      'enrol',
      'hear',
      'hear',
      'repeat',
      'work',
      'work',
      'work',
      'write',
      'write',
      'ask',
    ]);
    if (kind === 'enrol') this.#enrol();
    else if (kind === 'hear' && this.#messages.length > 0) {
      const [message] = this.#messages.splice(this.#random.int(0, this.#messages.length - 1), 1);
      this.#delivered.push(message!);
      this.#hear(message!);
    } else if (kind === 'repeat' && this.#delivered.length > 0)
      this.#hear(this.#random.pick(this.#delivered));
    else if (kind === 'work') this.#work();
    else if (kind === 'write') this.#write();
    else if (kind === 'ask') this.#ask();
  }

  /** Adds rows at the end, if the row takes any, and tells it later, or dies before. */
  #add(jobs: readonly Job[], mayAdd: boolean): void {
    const rows = this.#rows;
    if (!mayAdd || rows.isStopped || rows.isSettled || jobs.length === 0) return;
    rows.jobs.push(...jobs);
    rows.queues = [...new Set([...rows.queues, ...jobs.map(({ queue }) => queue)])].filter(Boolean);
    if (this.#random.chance(0.6)) this.#messages.push({ total: rows.jobs.length, queues: rows.queues });
  }

  #enrol(): void {
    this.#add(this.#toEnrol.splice(0, this.#random.int(1, 3)), !this.#rows.isSealed);
  }

  #hear({ total, queues }: Growth): void {
    const isBlock = this.#random.chance(0.5);
    this.#apply(
      isBlock
        ? rules.enrolled(this.#state, { token: RUN, upTo: total, queues }, NOW)
        : more.jobsAdded(this.#state, { runId: RUN, upTo: total, queues }, LATER),
    );
  }

  #work(): void {
    if (this.#runners.size === 0) return;
    const [id, runner] = this.#random.pick([...this.#runners]);
    if (this.#state.stop && this.#random.chance(0.5)) runner.left = [];
    for (const position of runner.left.splice(0, this.#random.int(0, 2))) {
      const job = this.#rows.jobs[position - 1]!;
      // The last one may add its jobs after its attempt was given up, which is refused.
      this.#add(job.adds, this.#random.chance(0.95));
      if (this.#rows.isSettled) continue;
      this.#rows.ended.set(position, job.outcome);
      if (job.outcome === 'complete') runner.completed++;
      else runner.failed++;
    }
    const ended = runner.left.length === 0;
    if (ended) this.#runners.delete(id);
    const { completed, failed } = runner;
    this.#apply(rules.reported(this.#state, { runner: id, completed, failed, ended }));
  }

  #ask(): void {
    if (this.#isCancelled && this.#random.chance(0.1))
      this.#apply(rules.cancelled(this.#state, { reason: 'r', graceMs: 1 }));
    if (this.#isSealAsked || (this.#toEnrol.length > 0 && this.#random.chance(0.9))) return;
    this.#isSealAsked = true;
    if (rules.refuseSeal(this.#state, { token: RUN, upTo: 0, queues: [] })) return;
    this.#apply(rules.sealed(this.#state, { token: RUN, upTo: 0, queues: [] }, NOW));
  }

  /** One write of the mirror, in three steps: what is to be written, the write, and its answer. */
  #write(): void {
    if (this.#writing) return this.#writing();
    const rows = this.#rows;
    const state = this.#state;
    if (state.stop && !rows.isStopped && this.#random.chance(0.5)) {
      rows.isStopped = true;
    } else if (rules.isClosed(state) && !state.written.sealed) {
      this.#writing = () => {
        rows.isSealed = true;
        const growth = { total: rows.jobs.length, queues: rows.queues };
        this.#answer(() => more.wroteSeal(this.#state, { ...growth, error: this.#state.enrollment.error }));
      };
    } else if (state.written.sealed && (!state.written.outcome || rules.isSettled(state))) {
      const ending = more.endingOf(state);
      if (!ending) return;
      const isStopped = state.stop !== null;
      this.#writing = () => this.#end(ending, isStopped);
    }
  }

  #end(ending: more.Ending, isStopped: boolean): void {
    const rows = this.#rows;
    const growth = { total: rows.jobs.length, queues: rows.queues };
    if (ending.total !== null && growth.total > ending.total) {
      this.#wasGrown = true;
      return this.#answer(() => more.grown(this.#state, growth));
    }
    if (rows.outcome !== null && rows.outcome !== ending.outcome)
      throw new Error('The outcome was written twice');
    rows.outcome = ending.outcome;
    rows.isSettled ||= ending.settled;
    const outcomes = [...rows.ended.values()];
    const completed = outcomes.filter((outcome) => outcome === 'complete').length;
    const counts = { completed, failed: outcomes.length - completed, total: growth.total };
    this.#answer(() =>
      more.wroteEnding(
        ending.settled && isStopped ? rules.counted(this.#state, counts) : this.#state,
        ending,
      ),
    );
  }

  #answer(next: () => BatchState): void {
    this.#writing = () => {
      this.#writing = undefined;
      this.#apply(next());
    };
  }

  #apply(next: BatchState): void {
    const before = this.#state;
    const { state, assignments } = rules.assignRanges(rules.decided(next, this.#settings), this.#settings);
    this.#state = state;
    for (const assignment of assignments) {
      const { runner, lane, from, to } = assignment;
      const left: number[] = [];
      for (let position = from; position <= to; position++) {
        const key = `${lane}/${position}`;
        if (this.#handedOut.has(key)) throw new Error(`Position ${key} was handed out twice`);
        this.#handedOut.add(key);
        const job = this.#rows.jobs[position - 1];
        if (!job) throw new Error(`Position ${position} was handed out before its row`);
        if (job.queue === lane) left.push(position);
      }
      this.#runners.set(runner, { assignment, left, completed: 0, failed: 0 });
    }
    if (state.enrolled > this.#rows.jobs.length) throw new Error('More jobs than rows');
    if (state.enrolled < before.enrolled) throw new Error('The watermark went down');
    if (before.written.outcome && state.outcome !== before.outcome)
      throw new Error('A written outcome changed');
    if (state.written.settled && !rules.isSettled(state)) throw new Error('Settled, and not over');
  }

  #expectTheEnd(): void {
    const { enrolled, outcome, stop } = this.#state;
    const { jobs, ended } = this.#rows;
    expect(enrolled).toBe(jobs.length);
    expect(outcome).toBe(this.#rows.outcome);
    const { complete, failed, cancelled, pending } = rules.progressOf(this.#state);
    expect(complete + failed + cancelled + pending).toBe(jobs.length);
    expect(complete + failed).toBe(ended.size);
    if (stop) return;
    // Every job whose row was committed has run, once.
    expect([...ended.keys()].toSorted((a, b) => a - b)).toEqual(jobs.map((_, index) => index + 1));
    if (this.#settings.failWhen === 'immediate') return;
    const isFailed = isExceeded(this.#settings.failWhenFailed, failed, jobs.length);
    expect(outcome).toBe(isFailed ? 'failed' : 'complete');
  }
}

test('decides a batch to which handlers add jobs once, and runs every job whose row was committed, whatever is lost, late or repeated', async () => {
  const seen = new Set<string>();
  await forSeeds(4_000, (random) => {
    const { state, wasGrown, added: count } = new GrowingWalk(random).run();
    seen.add(`${state.outcome}`);
    if (state.stop) seen.add('stopped');
    if (wasGrown) seen.add('found at the end');
    if (count > 5) seen.add('many added');
  });
  expect([...seen].toSorted()).toEqual([
    'cancelled',
    'complete',
    'failed',
    'found at the end',
    'many added',
    'stopped',
  ]);
}, 60_000);
