import { describe, expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import type { BatchPolicy, BatchSettings, BatchState } from '../../workflows/batch-state.ts';
import { initialRange } from '../../workflows/range-state.ts';
import { resolveBatchChanges, resolveBatchOptions } from '../../src/client/batch-options.ts';

const NOW = 1_000_000;

const settings = (overrides: Partial<BatchSettings> = {}): BatchSettings => ({
  ...resolveBatchOptions({ description: 'd' }, () => 'b-1').settings,
  ...overrides,
});
const LIMITED = settings({ maxConcurrentJobs: 5 });

function sealedBatch(
  upTo: number,
  names: readonly string[] = [],
  queues: readonly string[] = [],
): BatchState {
  const open = rules.opened(rules.initialBatch(NOW, { limitedNames: names }), 'token', NOW);
  return rules.sealed(open, { token: 'token', upTo, queues }, NOW);
}

/** A batch whose jobs are long, so that a runner of its own runs them. */
function batchWithRunner(): BatchState {
  const sealed = sealedBatch(5_000);
  const lanes = { '': { dispatched: 0, pace: { size: 1, window: 8, jobMs: 60_000 } } };
  const { state, assignments } = rules.assignRanges({ ...sealed, lanes }, settings());
  expect(assignments).toMatchObject([{ runner: '1', inline: false, from: 1, to: 5_000 }]);
  return state;
}

describe('a limited batch', () => {
  test('runs all its jobs itself, however many', () => {
    const { assignments } = rules.assignRanges(sealedBatch(60_000), LIMITED);
    expect(assignments).toEqual([{ runner: '1', lane: '', from: 1, to: 25_000, inline: true }]);
  });

  test('is one whose limit was changed to one, and none any more whose limit was lifted', () => {
    const isLimited = (state: BatchState, given: BatchSettings) => rules.steeringOf(state, given).isLimited;
    const state = sealedBatch(5);
    const set = rules.updated(state, { perSecond: 3 });
    expect(isLimited(state, settings())).toBe(false);
    expect(isLimited(set, settings())).toBe(true);
    expect(isLimited(rules.updated(set, { perSecond: null }), settings())).toBe(false);
    expect(isLimited(rules.updated(state, { maxConcurrentJobs: null }), LIMITED)).toBe(false);
    expect(set.steering).toBe(1);
  });

  test('replaces a runner that was lost by a range of its own', () => {
    const { assignment, state } = rules.runnerLost(batchWithRunner(), '1', true);
    expect(assignment).toEqual({ runner: '2', lane: '', from: 1, to: 5_000, inline: true });
    expect(rules.hasChildRunners(state)).toBe(false);
  });
});

describe('what a runner gives back of its range', () => {
  const range = { ...initialRange([[200, 5_000]], { size: 1, window: 8 }), completed: 99 };
  const returned = { runner: '1', returns: 0, range, kept: '100-199', idle: true };
  const ALONE = { isLimited: false, mayRunInline: true };
  const give = (state: BatchState, message: unknown = returned, takeUp = ALONE) =>
    rules.rangeReturned(state, settings(), message as typeof returned, takeUp);

  test('goes on in another runner, counts included, and it keeps what is in flight', () => {
    const { state, assignment } = give(batchWithRunner());
    expect(assignment).toEqual({
      runner: '2',
      lane: '',
      from: 1,
      to: 5_000,
      inline: false,
      spans: '1-99,200-5000',
    });
    expect(state.runners).toMatchObject({
      '1': { from: 100, to: 199, spans: '100-199', completed: 0, idle: true, returns: 1, inline: false },
      '2': { spans: '1-99,200-5000', completed: 99, idle: false, returns: 0 },
    });
    expect(rules.progressOf(state)).toMatchObject({ complete: 99, pending: 4_901 });
    const kept = rules.reported(state, { runner: '1', returns: 1, completed: 100, failed: 0, ended: true });
    const all = rules.reported(kept, { runner: '2', completed: 4_900, failed: 0, ended: true });
    expect(rules.isSettled(kept)).toBe(false);
    expect(rules.isSettled(all)).toBe(true);
  });

  test('leaves out what its reports counted before', () => {
    const { state } = give(batchWithRunner());
    expect(rules.reported(state, { runner: '1', completed: 90, failed: 0, ended: false })).toBe(state);
    expect(rules.reported(state, { runner: '1', returns: 1, completed: 101, failed: 0, ended: false })).toBe(
      state,
    );
  });

  test('is run again by itself when either of them is lost', () => {
    const { state } = give(batchWithRunner());
    const kept = rules.runnerLost(state, '1');
    expect(kept.assignment).toMatchObject({ runner: '3', spans: '100-199' });
    expect(rules.positionsOf(state, kept.assignment!)).toEqual([[100, 199]]);
    const rest = rules.runnerLost(kept.state, '2');
    expect(rest.assignment).toMatchObject({ runner: '4', spans: '1-99,200-5000' });
    expect(rules.progressOf(rest.state)).toMatchObject({ complete: 0, pending: 5_000 });
  });

  test('goes on in the batch itself if it is little, or the batch has limits', () => {
    const little = { ...returned, range: { ...range, ready: [[4_980, 5_000]], completed: 4_879 } };
    const inlineOf = (message: unknown, takeUp: typeof ALONE) =>
      give(batchWithRunner(), message, takeUp).assignment!.inline;
    expect(inlineOf(little, ALONE)).toBe(true);
    expect(inlineOf(little, { isLimited: false, mayRunInline: false })).toBe(false);
    expect(inlineOf(returned, { isLimited: true, mayRunInline: false })).toBe(true);
  });

  test('is all that it had when nothing is in flight: it ends', () => {
    const { state } = give(batchWithRunner(), { ...returned, kept: '' }, { ...ALONE, isLimited: true });
    expect(Object.keys(state.runners)).toEqual(['2']);
    expect(rules.hasChildRunners(state)).toBe(false);
  });

  test('runs no more in a batch that was stopped', () => {
    const stopped = rules.cancelled(batchWithRunner(), { reason: 'asked to', graceMs: 0 });
    const { state, assignment } = give(stopped);
    expect(assignment).toBeUndefined();
    expect(rules.terminalCounts(state).completed).toBe(99);
    expect(Object.keys(state.runners)).toEqual(['1']);
  });

  test('twice, or after its runner was lost or has ended, changes nothing', () => {
    const { state } = give(batchWithRunner());
    expect(give(state)).toEqual({ state });
    const { state: lost } = rules.runnerLost(batchWithRunner(), '1', true);
    expect(give(lost)).toEqual({ state: lost });
    const ended = rules.reported(batchWithRunner(), {
      runner: '1',
      completed: 5_000,
      failed: 0,
      ended: true,
    });
    expect(give(ended)).toEqual({ state: ended });
  });

  test.each([
    { runner: 'constructor' },
    { returns: 1 },
    { returns: undefined },
    { kept: undefined },
    { kept: '100-x' },
    { kept: '4999-5001' },
    { kept: '100-200' },
    { range: null },
    { range: { ...range, ready: [[0, 10]] } },
    { range: { ...range, ready: [[1, 5_001]] } },
    { range: { ...range, ready: [[10, 1]] } },
    { range: { ...range, lost: 'all' } },
    { range: { ...range, delayed: [null] } },
    { range: { ...range, completed: -1 } },
    { range: { ...range, completed: 100 } },
    { range: { ...range, pace: undefined } },
  ])('that cannot be changes nothing: %j', (garbage) => {
    const state = batchWithRunner();
    expect(give(state, { ...returned, ...garbage })).toEqual({ state });
  });
});

describe('names with limits of their own', () => {
  test('have lanes on each task queue, from when it is announced', () => {
    const state = sealedBatch(10, ['Mail', '__proto__'], ['gpu']);
    expect(Object.keys(state.lanes)).toEqual([
      '',
      '\0Mail',
      '\0__proto__',
      'gpu',
      'gpu\0Mail',
      'gpu\0__proto__',
    ]);
    expect(rules.limitedNames(state)).toEqual(['Mail', '__proto__']);
    const { assignments } = rules.assignRanges(state, settings({ jobLimits: { Mail: { perSecond: 1 } } }));
    expect(assignments.map(({ lane, from, to, inline }) => [lane, from, to, inline])).toEqual(
      Object.keys(state.lanes).map((lane) => [lane, 1, 10, true]),
    );
  });

  test('keep their lanes when the batch counts again from the rows', () => {
    const state = sealedBatch(10, ['Mail'], ['gpu']);
    const { state: dispatched } = rules.assignRanges(state, settings());
    expect(Object.keys(rules.recounted(dispatched, []).lanes)).toEqual(Object.keys(state.lanes));
  });

  test('are not taken from a task queue that is named like one of their lanes', () => {
    const open = rules.opened(rules.initialBatch(NOW), 'token', NOW);
    const message = { token: 'token', upTo: 5, queues: ['gpu\0Mail'] };
    expect(rules.enrolled(open, message, NOW)).toEqual(open);
    expect(rules.refuseSeal(open, message)).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('can be changed one by one, and no others', () => {
    const given = settings({ jobLimits: { Mail: { perSecond: 1 }, Pay: { maxConcurrentJobs: 3 } } });
    const state = sealedBatch(10, ['Mail', 'Pay']);
    const change = (changed: BatchState, jobLimits: BatchPolicy['jobLimits']) =>
      rules.updated(changed, { jobLimits });
    const twice = change(change(state, { Mail: { maxConcurrentJobs: 2 } }), { Mail: { perSecond: null } });
    expect(rules.policyOf(twice, given).jobLimits).toEqual({
      Mail: { perSecond: null, maxConcurrentJobs: 2 },
      Pay: { maxConcurrentJobs: 3 },
    });
    expect(rules.refuseUpdate(state, { jobLimits: { Mail: { perSecond: 2 } } })).toBeUndefined();
    expect(rules.refuseUpdate(state, { jobLimits: { Other: { perSecond: 2 } } })).toMatchObject({
      code: 'JOB_NOT_LIMITED',
      message: expect.stringContaining('"Other", which had no entry when the batch was created'),
    });
  });
});

test.each([
  { maxConcurrentJobs: 0 },
  { maxConcurrentJobs: '5' },
  { perSecond: -1 },
  { perSecond: 0 },
  { jobLimits: null },
  { jobLimits: 'Mail' },
  { jobLimits: { Mail: 5 } },
  { jobLimits: { Mail: { perSecond: NaN } } },
  { jobLimits: { Mail: { most: 5 } } },
])('a change that cannot be is refused: %j', (changes) => {
  const state = sealedBatch(5, ['Mail']);
  expect(rules.refuseUpdate(state, changes as never)).toMatchObject({ code: 'INVALID_OPTION' });
});

describe('the options', () => {
  test('are resolved as they are given', () => {
    const jobLimits = { Mail: { perSecond: 0.5 }, Pay: { maxConcurrentJobs: null } };
    const { settings: resolved } = resolveBatchOptions(
      { description: 'd', maxConcurrentJobs: 50, jobLimits },
      () => 'b-1',
    );
    expect(resolved).toMatchObject({ maxConcurrentJobs: 50, perSecond: null, jobLimits });
    expect(resolveBatchChanges({ perSecond: null })).toEqual({ perSecond: null });
    expect(resolveBatchChanges({ jobLimits })).toEqual({ jobLimits });
  });

  test.each([
    ['maxConcurrentJobs', { maxConcurrentJobs: 0 }],
    ['maxConcurrentJobs', { maxConcurrentJobs: 2.5 }],
    ['perSecond', { perSecond: 0 }],
    ['perSecond', { perSecond: Infinity }],
    ['perSecond', { perSecond: '5' }],
    ['jobLimits', { jobLimits: [] }],
    ['jobLimits', { jobLimits: { '': { perSecond: 1 } } }],
    ['jobLimits', { jobLimits: { 'a\0b': { perSecond: 1 } } }],
    ['jobLimits', { jobLimits: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [i, {}])) }],
    ['jobLimits.Mail', { jobLimits: { Mail: 5 } }],
    ['jobLimits.Mail.most', { jobLimits: { Mail: { most: 5 } } }],
    ['jobLimits.Mail.maxConcurrentJobs', { jobLimits: { Mail: { maxConcurrentJobs: -1 } } }],
    ['jobLimits.Mail.perSecond', { jobLimits: { Mail: { perSecond: 0 } } }],
  ])('are refused with %s: %j', (option, given) => {
    const refused = expect.objectContaining({ code: 'INVALID_OPTION', option });
    expect(() => resolveBatchChanges(given as never)).toThrow(refused);
    expect(() => resolveBatchOptions({ description: 'd', ...(given as object) }, () => 'b-1')).toThrow(
      refused,
    );
  });
});
