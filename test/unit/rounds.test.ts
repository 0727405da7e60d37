import { describe, expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import { positionsIn, roundOpened, type OpenedRound } from '../../workflows/rounds.ts';
import { countOf } from '../../workflows/spans.ts';
import { RETRY, SETTINGS } from '../support/facts.ts';

const NOW = 1_000_000;
const REQUEST = { number: 2, cancelled: false, callbacks: [] };

/** 100 jobs: 60 were complete, 20 stay cancelled, 20 failed and run again, among 30 others in the same spans. */
const OPENED: OpenedRound = {
  spans: '11-40,91-100',
  total: 100,
  others: { completed: 45, failed: 0, cancelled: 15 },
  cancelled: 20,
  queues: [],
  enrollmentError: null,
};

function openedRound(opened: Partial<OpenedRound> = {}): rules.BatchState {
  return roundOpened(rules.initialRound([], NOW), REQUEST, { ...OPENED, ...opened });
}

/** All its ranges have ended, as their chunks found them. */
function ended(state: rules.BatchState, counts: { completed: number; failed: number; cancelled: number }) {
  const { state: running, assignments } = rules.assignRanges(state, SETTINGS);
  expect(assignments).toHaveLength(1);
  return rules.reported(running, { runner: assignments[0]!.runner, ...counts, ended: true });
}

describe('a round that is being opened', () => {
  test('is running, has no jobs, and decides nothing', () => {
    const state = rules.initialRound([], NOW);
    expect(rules.isSettled(state)).toBe(false);
    expect(rules.isStranded(state)).toBe(false);
    expect(rules.decided(state, SETTINGS).outcome).toBeNull();
    expect(rules.progressOf(state)).toMatchObject({ status: 'running', total: 0 });
    expect(rules.refuseOpen(state)).toMatchObject({ code: 'ALREADY_ENROLLED' });
  });

  test('can be cancelled: then its jobs are cancelled once they are known', () => {
    const state = rules.cancelled(rules.initialRound([], NOW), { reason: 'no', graceMs: 1 });
    expect(state.stop).not.toBeNull();
    const opened = rules.decided(roundOpened(state, REQUEST, OPENED), SETTINGS);
    expect(rules.assignRanges(opened, SETTINGS).assignments).toEqual([]);
    expect(rules.isSettled(opened)).toBe(true);
    expect(opened.outcome).toBe('cancelled');
  });

  test('has the callbacks of the round before, and refuses others for their events', () => {
    const registration = {
      event: 'settled',
      callback: 'Cleanup',
      startToCloseTimeoutMs: 1,
      retry: RETRY,
    } as const;
    const state = rules.initialRound([registration], NOW);
    expect(rules.refuseRegistration(state, registration)).toBeUndefined();
    expect(rules.refuseRegistration(state, { ...registration, callback: 'Other' })).toMatchObject({
      code: 'CALLBACK_ALREADY_REGISTERED',
    });
  });
});

describe('a round', () => {
  test('hands out its spans and nothing else, under names that no round had before', () => {
    const { state, assignments } = rules.assignRanges(openedRound(), SETTINGS);
    expect(assignments).toMatchObject([{ runner: '2.1', from: 11, to: 100 }]);
    expect(positionsIn(state, 11, 100)).toEqual([
      [11, 40],
      [91, 100],
    ]);
    expect(rules.assignRanges(state, SETTINGS).assignments).toEqual([]);
  });

  test('cuts its spans into ranges where they are large, each position once', () => {
    const spans = '1-30000,50001-90000';
    let state = openedRound({
      spans,
      total: 100_000,
      others: { completed: 30_000, failed: 0, cancelled: 0 },
    });
    const seen: number[] = [];
    for (let i = 0; i < 20; i++) {
      const { state: next, assignments } = rules.assignRanges(state, SETTINGS);
      state = next;
      for (const { runner, from, to } of assignments) {
        const jobs = countOf(positionsIn(state, from, to));
        seen.push(jobs);
        const pace = { size: 2_000, window: 8, jobMs: 1 };
        state = rules.reported(state, { runner, completed: jobs, failed: 0, ended: true, pace });
      }
    }
    expect(seen.reduce((sum, jobs) => sum + jobs, 0)).toBe(70_000);
    expect(rules.isSettled(state)).toBe(true);
    expect(rules.progressOf(state)).toMatchObject({ total: 100_000, complete: 100_000, pending: 0 });
  });

  test('is complete when all succeeded', () => {
    const others = { completed: 60, failed: 0, cancelled: 0 };
    const state = ended(openedRound({ others, cancelled: 0 }), { completed: 40, failed: 0, cancelled: 0 });
    expect(rules.decided(state, SETTINGS).outcome).toBe('complete');
  });

  test('with jobs that stay cancelled is cancelled when none failed, and failed when one did', () => {
    const well = ended(openedRound(), { completed: 35, failed: 0, cancelled: 5 });
    expect(rules.decided(well, SETTINGS).outcome).toBe('cancelled');
    const ill = ended(openedRound(), { completed: 34, failed: 1, cancelled: 5 });
    expect(rules.decided(ill, SETTINGS).outcome).toBe('failed');
    expect(rules.progressOf(ill)).toMatchObject({ complete: 79, failed: 1, cancelled: 20, pending: 0 });
  });

  test('does not count jobs that stay cancelled as pending', () => {
    expect(rules.progressOf(openedRound())).toMatchObject({ complete: 45, cancelled: 20, pending: 35 });
  });

  test('is not over before all its jobs have ended', () => {
    const { state, assignments } = rules.assignRanges(openedRound(), SETTINGS);
    const { runner } = assignments[0]!;
    const counts = { completed: 30, failed: 4, cancelled: 5 };
    const almost = rules.reported(state, { runner, ...counts, ended: false });
    expect(rules.isSettled(almost)).toBe(false);
    const tooMany = rules.reported(state, { runner, ...counts, completed: 90, ended: true });
    expect(tooMany).toBe(state);
  });

  test('fails whatever its jobs do when the enrolment of the batch broke', () => {
    const others = { completed: 60, failed: 0, cancelled: 0 };
    const broken = openedRound({ others, cancelled: 0, enrollmentError: 'Error: no' });
    const state = ended(broken, { completed: 40, failed: 0, cancelled: 0 });
    expect(rules.decided(state, SETTINGS).outcome).toBe('failed');
  });

  test('counts again from its rows when jobs are missing from the counts', () => {
    const state = ended(openedRound(), { completed: 30, failed: 0, cancelled: 5 });
    expect(rules.isStranded(state)).toBe(true);
    const again = rules.recounted(state, []);
    expect(rules.terminalCounts(again)).toEqual(OPENED.others);
    const settled = ended(again, { completed: 35, failed: 0, cancelled: 5 });
    expect(rules.isSettled(settled)).toBe(true);
  });

  test('replaces a lost runner, which counts the same jobs again', () => {
    const { state } = rules.assignRanges(openedRound(), SETTINGS);
    const { state: next, assignment } = rules.runnerLost(state, '2.1');
    expect(assignment).toMatchObject({ runner: '2.2', from: 11, to: 100 });
    expect(rules.terminalCounts(next)).toEqual(OPENED.others);
  });
});
