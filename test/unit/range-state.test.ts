import { expect, test } from 'vitest';
import { INITIAL_PACE } from '../../workflows/pacing.ts';
import {
  chunkEnded,
  chunkLeft,
  chunkLost,
  chunkPostponed,
  describeChunk,
  initialRange,
  isExhausted,
  nextChunk,
  nextDueAt,
  type Chunk,
  type ChunkReport,
  type Losses,
  type RangeState,
} from '../../workflows/range-state.ts';
import { countOf, formatSpans, spansOf, subtract, union, type Span } from '../../workflows/spans.ts';
import { forSeeds, type Random } from '../support/random.ts';

const NOW = 1_000_000;

function reportOf(report: Partial<ChunkReport>): ChunkReport {
  return {
    completed: 0,
    failed: 0,
    delayed: [],
    remaining: '',
    unknown: '',
    timing: { ran: 0, busyMs: 0, queueMs: 0 },
    ...report,
  };
}

function dispatch(state: RangeState, now = NOW): { state: RangeState; chunk: Chunk } {
  const next = nextChunk(state, now);
  if (!next) throw new Error(`Nothing to dispatch at ${now} from ${JSON.stringify(state)}`);
  return next;
}

/** A range of one chunk, dispatched. */
function setup(size = 10) {
  return dispatch(initialRange([[1, size]], { ...INITIAL_PACE, size: Math.max(1, size) }));
}

/** The state after a chunk, and the same jobs again, were lost with their workers. */
function loseTwice({ state, chunk }: { state: RangeState; chunk: Chunk }): RangeState {
  const again = dispatch(chunkLost(state, chunk));
  return chunkLost(again.state, again.chunk);
}

function positionsOf(spans: readonly Span[]): number[] {
  return spans.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index));
}

test('dispatches the range from its start in chunks of the size that the pace says', () => {
  const first = dispatch(
    initialRange(
      [
        [1, 30],
        [41, 60],
      ],
      { size: 40, window: 2 },
    ),
  );
  const second = dispatch(first.state);
  expect([first, second].map(({ chunk }) => formatSpans(chunk.spans))).toEqual(['1-30,41-50', '51-60']);
  expect(nextChunk(second.state, NOW)).toBeUndefined();
  expect(isExhausted(second.state)).toBe(true);
});

test('counts what a chunk completed and failed', () => {
  const { state, chunk } = setup(10);
  const ended = chunkEnded(state, chunk, reportOf({ completed: 7, failed: 3 }), NOW);
  expect(ended).toMatchObject({ completed: 7, failed: 3 });
  expect(isExhausted(ended)).toBe(true);
});

test('learns its pace from the chunks that ended', () => {
  const { state, chunk } = setup(10);
  const timing = { ran: 10, busyMs: 600_000, queueMs: 0 };
  expect(chunkEnded(state, chunk, reportOf({ completed: 10, timing }), NOW).pace.size).toBe(1);
});

test('dispatches a delayed job when it is due and not before', () => {
  const { state, chunk } = setup(3);
  const ended = chunkEnded(state, chunk, reportOf({ completed: 2, delayed: [[1_050, '2']] }), NOW);
  const dueAt = nextDueAt(ended)!;
  expect(dueAt).toBeGreaterThanOrEqual(NOW + 1_050);
  expect(dueAt).toBeLessThan(NOW + 1_050 + 100);
  expect(nextChunk(ended, dueAt - 1)).toBeUndefined();
  expect(dispatch(ended, dueAt).chunk).toEqual({ spans: [[2, 2]], losses: 0 });
});

test('lets retries that are due in the same tenth of a second share one entry and one chunk', () => {
  const { state, chunk } = setup(4);
  const report = reportOf({
    delayed: [
      [101, '1'],
      [150, '3'],
      [200, '2'],
      [201, '4'],
    ],
  });
  const ended = chunkEnded(state, chunk, report, NOW);
  expect(ended.delayed).toEqual([
    { dueAt: NOW + 200, spans: [[1, 3]] },
    { dueAt: NOW + 300, spans: [[4, 4]] },
  ]);
});

test('rounds due times up, so that no job runs before its delay is over', async () => {
  await forSeeds(200, (random) => {
    const now = random.int(0, 10_000);
    const delayMs = random.int(0, 1_000);
    const { state, chunk } = setup(1);
    const ended = chunkEnded(state, chunk, reportOf({ delayed: [[delayMs, '1']] }), now);
    expect(nextDueAt(ended), `${delayMs} ms after ${now}`).toBeGreaterThanOrEqual(now + delayMs);
    expect(nextDueAt(ended), `${delayMs} ms after ${now}`).toBeLessThan(now + delayMs + 100);
  });
});

test('dispatches what a draining worker left as soon as possible and without suspicion', () => {
  const { state, chunk } = setup(10);
  const ended = chunkEnded(state, chunk, reportOf({ completed: 4, remaining: '5-10' }), NOW);
  expect(dispatch(ended).chunk).toEqual({ spans: [[5, 10]], losses: 0 });
});

test('runs the jobs of a chunk that was lost once again as before, ahead of others', () => {
  const first = dispatch(initialRange([[1, 1_000]], { size: 250, window: 4 }));
  const again = dispatch(chunkLost(first.state, first.chunk));
  expect(again.chunk).toEqual({ spans: [[1, 250]], losses: 1 });
  expect(dispatch(again.state).chunk).toEqual({ spans: [[251, 500]], losses: 0 });
});

test('runs the jobs of a chunk that was lost twice with care, in small chunks, ahead of all others', () => {
  const second = loseTwice(dispatch(initialRange([[1, 1_000]], { size: 250, window: 4 })));
  const third = dispatch(second);
  const fourth = dispatch(third.state);
  expect([third, fourth].map(({ chunk }) => [formatSpans(chunk.spans), chunk.losses])).toEqual([
    ['1-100', 2],
    ['101-200', 2],
  ]);
});

test('charges nobody for a lost chunk', () => {
  const { state, chunk } = setup(10);
  const lost = chunkLost(state, chunk);
  expect(lost).toMatchObject({ completed: 0, failed: 0, pace: state.pace });
  expect(countOf(lost.lost)).toBe(10);
  expect(isExhausted(lost)).toBe(false);
});

test('runs jobs alone with care when they are slow', () => {
  const first = dispatch(initialRange([[1, 5]], { size: 1, window: 4 }));
  expect(dispatch(loseTwice(first)).chunk).toEqual({ spans: [[1, 1]], losses: 2 });
});

test.each([1, 2] as const)(
  'drops the suspicion of jobs that a chunk of %i losses did not get to',
  (losses) => {
    const { state } = setup(10);
    const chunk: Chunk = { spans: [[1, 10]], losses };
    const ended = chunkEnded(state, chunk, reportOf({ completed: 4, remaining: '5-10' }), NOW);
    expect(dispatch(ended).chunk).toEqual({ spans: [[5, 10]], losses: 0 });
  },
);

test('suspects the jobs of a careful chunk that is lost again', () => {
  const careful = dispatch(loseTwice(setup(10)));
  expect(dispatch(chunkLost(careful.state, careful.chunk)).chunk.losses).toBe(2);
});

test.each([0, 1, 2] as const)('remembers %i losses of a chunk that is postponed', (losses) => {
  const { state } = setup(10);
  const postponed = chunkPostponed(state, { spans: [[1, 10]], losses }, NOW, 5_000);
  expect(dispatch(postponed, NOW + 5_000).chunk).toEqual({ spans: [[1, 10]], losses });
});

test('dispatches a postponed chunk again after the pause', () => {
  const { state, chunk } = setup(10);
  const postponed = chunkPostponed(state, chunk, NOW, 5_000);
  expect(nextDueAt(postponed)).toBe(NOW + 5_000);
  expect(nextChunk(postponed, NOW + 4_999)).toBeUndefined();
  expect(dispatch(postponed, NOW + 5_000).chunk.spans).toEqual([[1, 10]]);
});

test('remembers since when no worker knew the names of jobs, across many tries', () => {
  let { state, chunk } = setup(10);
  let now = NOW;
  const pauses: number[] = [];
  for (let attempt = 0; attempt < 12; attempt++) {
    state = chunkEnded(state, chunk, reportOf({ unknown: '1-10' }), now);
    pauses.push(nextDueAt(state)! - now);
    now = nextDueAt(state)!;
    ({ state, chunk } = dispatch(state, now));
    expect(chunk, `try ${attempt}`).toEqual({ spans: [[1, 10]], losses: 0, unknownSince: NOW });
  }
  expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
  expect(pauses.at(0)).toBe(1_000);
  expect(pauses.at(-1)).toBe(30_000);
});

test('forgets how long jobs were unknown for those that a worker knew after all', () => {
  const { state, chunk } = setup(4);
  const waiting = chunkEnded(state, chunk, reportOf({ unknown: '1-4' }), NOW);
  const later = nextDueAt(waiting)!;
  const again = dispatch(waiting, later);
  const ended = chunkEnded(
    again.state,
    again.chunk,
    reportOf({ completed: 1, remaining: '2', delayed: [[500, '3']], unknown: '4' }),
    later,
  );
  const chunks: Chunk[] = [];
  for (let next = nextChunk(ended, later + 60_000); next; next = nextChunk(next.state, later + 60_000)) {
    chunks.push(next.chunk);
  }
  expect(chunks).toEqual([
    { spans: [[4, 4]], losses: 0, unknownSince: NOW },
    { spans: [[2, 3]], losses: 0 },
  ]);
});

test('keeps counting the time that jobs are unknown while their chunk is postponed', () => {
  const { state, chunk } = setup(4);
  const waiting = chunkEnded(state, chunk, reportOf({ unknown: '1-4' }), NOW);
  const again = dispatch(waiting, NOW + 1_000);
  const postponed = chunkPostponed(again.state, again.chunk, NOW + 1_000, 5_000);
  expect(dispatch(postponed, NOW + 6_000).chunk.unknownSince).toBe(NOW);
});

test('keeps jobs apart that were unknown for different times', () => {
  const first = dispatch(initialRange([[1, 4]], { size: 2, window: 2 }));
  const second = dispatch(first.state);
  let state = chunkEnded(second.state, first.chunk, reportOf({ unknown: '1-2' }), NOW);
  state = chunkEnded(state, second.chunk, reportOf({ unknown: '3-4' }), NOW + 1);
  const chunks = [dispatch(state, NOW + 60_000)];
  chunks.push(dispatch(chunks[0]!.state, NOW + 60_000));
  expect(chunks.map(({ chunk }) => [formatSpans(chunk.spans), chunk.unknownSince])).toEqual([
    ['1-2', NOW],
    ['3-4', NOW + 1],
  ]);
});

test('asks again for rows that were not found at the times of unknown names, and tells both apart', () => {
  const { state, chunk } = setup(4);
  const waiting = chunkEnded(state, chunk, reportOf({ unknown: '1', missing: '2-4' }), NOW);
  const dueAt = NOW + 1_000;
  expect(waiting.delayed).toEqual([
    { dueAt, spans: [[1, 1]], unknownSince: NOW },
    { dueAt, spans: [[2, 4]], unknownSince: NOW, isMissing: true },
  ]);
  expect(isExhausted(waiting)).toBe(false);
  const again = dispatch(dispatch(waiting, dueAt).state, dueAt);
  expect(again.chunk).toEqual({ spans: [[2, 4]], losses: 0, unknownSince: NOW });
  const found = chunkEnded(again.state, again.chunk, reportOf({ completed: 2, failed: 1 }), dueAt);
  expect(found).toMatchObject({ completed: 2, failed: 1, delayed: [] });
});

test('has nothing due while nothing is delayed', () => {
  expect(nextDueAt(initialRange([[1, 10]]))).toBeUndefined();
});

test('stays plain JSON, as continue-as-new needs it', () => {
  const { state, chunk } = setup(6);
  const report = reportOf({ completed: 1, delayed: [[10, '2']], unknown: '3', remaining: '4-6' });
  const ended = chunkEnded(chunkLost(state, { ...chunk, spans: [[7, 9]] }), chunk, report, NOW);
  expect(JSON.parse(JSON.stringify(ended))).toEqual(ended);
});

test.each([
  { chunk: { spans: [[3, 3]], losses: 0 }, text: 'job 3' },
  { chunk: { spans: [[1, 250]], losses: 0 }, text: 'jobs 1-250' },
  { chunk: { spans: [[1, 2]], losses: 1 }, text: 'jobs 1-2 (again: the worker that ran them was lost)' },
  { chunk: { spans: [[1, 2]], losses: 2 }, text: 'jobs 1-2 (watched: two workers that ran them were lost)' },
  {
    chunk: { spans: [[4, 4]], losses: 0, unknownSince: 1 },
    text: 'job 4 (again: no worker knew their names, or found their rows)',
  },
] satisfies { chunk: Chunk; text: string }[])('describes a chunk as "$text"', ({ chunk, text }) => {
  expect(describeChunk(chunk)).toBe(text);
});

test('cuts the description of a chunk of many spans', () => {
  const spans = spansOf(Array.from({ length: 200 }, (_, index) => index * 2 + 1));
  const text = describeChunk({ spans, losses: 0 });
  expect(text.length).toBeLessThan(80);
  expect(text).toMatch(/^jobs 1,3,5.*\.\.\.$/);
});

/**
 * A range with everything that can happen to its chunks, next to a model that knows each position: where it is, when
 * it is due, and what its row says.
 */
class RangeWalk {
  state: RangeState;
  now = NOW;
  readonly #random: Random;
  readonly #size: number;
  readonly #inFlight: Chunk[] = [];
  /** What chunks in flight have left to others. */
  readonly #left = new Map<Chunk, readonly Span[]>();
  readonly #rows = new Map<number, 'complete' | 'failed'>();
  readonly #counted = new Set<number>();
  readonly #dueAt = new Map<number, number>();
  readonly #losses = new Map<number, Losses>();
  readonly #unknownSince = new Map<number, number>();
  /** So that a walk ends, trouble does. */
  #troubles: number;

  constructor(random: Random) {
    this.#random = random;
    this.#size = random.int(1, 60);
    this.#troubles = random.int(0, 120);
    this.state = initialRange([[1, this.#size]], { size: random.int(1, 20), window: random.int(2, 5) });
  }

  /** @returns how many jobs there were, and how many were counted */
  run(): { seen: number; size: number } {
    while (this.#inFlight.length > 0 || !isExhausted(this.state)) {
      this.#step();
      this.#expectEachPositionOnce();
    }
    expect(this.state.completed).toBe([...this.#rows.values()].filter((row) => row === 'complete').length);
    expect(nextDueAt(this.state)).toBeUndefined();
    return { seen: this.state.completed + this.state.failed, size: this.#size };
  }

  #step(): void {
    const next = this.#inFlight.length < this.state.pace.window ? nextChunk(this.state, this.now) : undefined;
    if (next && (this.#inFlight.length === 0 || this.#random.chance(0.6))) this.#dispatch(next);
    else if (this.#inFlight.length > 0 && this.#random.chance(0.8)) this.#endOne();
    else if (this.#random.chance(0.5)) this.now += this.#random.int(1, 700);
    else this.now = Math.max(this.now, nextDueAt(this.state) ?? this.now);
  }

  #dispatch({ state, chunk }: { state: RangeState; chunk: Chunk }): void {
    this.state = state;
    this.#inFlight.push(chunk);
    expect(chunk.spans.length, 'spans of a dispatched chunk').toBeGreaterThan(0);
    for (const position of positionsOf(chunk.spans)) {
      const facts = {
        position,
        isDue: (this.#dueAt.get(position) ?? 0) <= this.now,
        losses: chunk.losses,
        unknownSince: chunk.unknownSince,
      };
      expect(facts).toEqual({
        position,
        isDue: true,
        losses: this.#losses.get(position) ?? 0,
        unknownSince: this.#unknownSince.get(position),
      });
      this.#losses.delete(position);
      this.#dueAt.delete(position);
    }
  }

  #endOne(): void {
    const [chunk] = this.#inFlight.splice(this.#random.int(0, this.#inFlight.length - 1), 1);
    const positions = positionsOf(chunk!.spans);
    const kinds = ['ended', 'ended', 'lost', 'postponed', 'left'];
    const kind = this.#troubles-- > 0 ? this.#random.pick(kinds) : 'ended';
    if (kind === 'ended') this.#end(chunk!, positions);
    else if (kind === 'left') this.#leave(chunk!, positions);
    else if (kind === 'lost') {
      // Some of its jobs had ended, and their rows say so; nobody has counted them.
      for (const position of positions) if (this.#random.chance(0.4)) this.#finish(position);
      for (const position of positions) this.#losses.set(position, chunk!.losses === 0 ? 1 : 2);
      for (const position of positions) this.#unknownSince.delete(position);
      this.state = chunkLost(this.state, chunk!);
    } else {
      const delayMs = this.#random.int(0, 5_000);
      for (const position of positions) this.#dueAt.set(position, this.now + delayMs);
      for (const position of positions) this.#losses.set(position, chunk!.losses);
      this.state = chunkPostponed(this.state, chunk!, this.now, delayMs);
    }
  }

  /** Some of its jobs are to run again, while others still run. */
  #leave(chunk: Chunk, positions: readonly number[]): void {
    const left = positions.filter((position) => !this.#rows.has(position) && this.#random.chance(0.5));
    const delayMs = this.#random.int(0, 10) * 100;
    for (const position of left) this.#dueAt.set(position, this.now + delayMs);
    for (const position of left) this.#unknownSince.delete(position);
    const spans = formatSpans(spansOf(left));
    const message = { delayed: [[delayMs, spans]] as const, remaining: '', unknown: '' };
    this.state = chunkLeft(this.state, chunk, message, this.now);
    const runs = { ...chunk, spans: subtract(chunk.spans, spansOf(left)) };
    this.#left.set(runs, union([this.#left.get(chunk) ?? [], spansOf(left)]));
    this.#inFlight.push(runs);
  }

  #end(chunk: Chunk, positions: readonly number[]): void {
    const delayed = new Map<number, number[]>();
    const remaining: number[] = [];
    const unknown: number[] = [];
    let completed = 0;
    let failed = 0;
    for (const position of positions) {
      const since = this.#unknownSince.get(position) ?? this.now;
      this.#unknownSince.delete(position);
      const outcome = this.#random.pick(['terminal', 'terminal', 'delayed', 'remaining', 'unknown']);
      if (this.#rows.has(position) || outcome === 'terminal' || this.#troubles <= 0) {
        if (this.#finish(position) === 'complete') completed++;
        else failed++;
        this.#counted.add(position);
      } else if (outcome === 'delayed') {
        const delayMs = this.#random.int(0, 10) * 100;
        delayed.set(delayMs, [...(delayed.get(delayMs) ?? []), position]);
        this.#dueAt.set(position, this.now + delayMs);
      } else if (outcome === 'remaining') {
        remaining.push(position);
      } else {
        unknown.push(position);
        this.#unknownSince.set(position, since);
        // The first pause is the shortest.
        this.#dueAt.set(position, this.now + 1_000);
      }
    }
    // What it left before is said again.
    const again = [7_000, formatSpans(this.#left.get(chunk) ?? [])] as const;
    const report: ChunkReport = {
      completed,
      failed,
      delayed: [
        again,
        ...[...delayed].map(([delayMs, some]) => [delayMs, formatSpans(spansOf(some))] as const),
      ],
      remaining: formatSpans(spansOf(remaining)),
      unknown: formatSpans(spansOf(unknown)),
      timing: {
        ran: positions.length,
        busyMs: this.#random.int(0, 50_000),
        queueMs: this.#random.int(0, 3_000),
      },
    };
    this.state = chunkEnded(this.state, chunk, report, this.now);
  }

  #finish(position: number): 'complete' | 'failed' {
    const row = this.#rows.get(position) ?? (this.#random.chance(0.2) ? 'failed' : 'complete');
    this.#rows.set(position, row);
    return row;
  }

  #expectEachPositionOnce(): void {
    const { ready, lost, suspect, delayed } = this.state;
    const places = [
      ready,
      lost,
      suspect,
      ...delayed.map(({ spans }) => spans),
      ...this.#inFlight.map(({ spans }) => spans),
    ];
    const found = [...places.flatMap(positionsOf), ...this.#counted].sort((a, b) => a - b);
    expect(found).toEqual(Array.from({ length: this.#size }, (_, index) => index + 1));
    expect(this.state.completed + this.state.failed).toBe(this.#counted.size);
  }
}

test('dispatches each position until it is terminal, in one place at any time, whatever happens to chunks', async () => {
  const ends: { seen: number; size: number }[] = [];
  await forSeeds(300, (random) => {
    ends.push(new RangeWalk(random).run());
  });
  expect(ends.filter(({ seen, size }) => seen !== size)).toEqual([]);
});
