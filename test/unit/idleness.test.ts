import { describe, expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import { SETTINGS } from '../support/facts.ts';

const NOW = 1_000_000;
const settings: rules.BatchSettings = { ...SETTINGS, alertAfterIdleMs: 1_000 };

/** Ten jobs that were enrolled at NOW, of which so many have ended. */
function runningBatch(completed = 0): rules.BatchState {
  const open = rules.opened(rules.initialBatch(NOW - 60_000), 'token', NOW - 60_000);
  const sealed = rules.sealed(open, { token: 'token', upTo: 10, queues: [] }, NOW);
  const { state } = rules.assignRanges(rules.moved(open, sealed, NOW), settings);
  return rules.reported(state, { runner: '1', completed, failed: 0, ended: false });
}

const leftMs = (state: rules.BatchState, now: number) => rules.idleTimeLeftMs(state, settings, now);
const check = (state: rules.BatchState, now: number, ended = 0, idleMs = 0) =>
  rules.idleChecked(state, settings, { ended, idleMs }, now);

describe('the rows of a batch are asked whether it moves', () => {
  test('alertAfterIdle after its first jobs came, not after its creation', () => {
    expect(leftMs(runningBatch(), NOW)).toBe(1_000);
    expect(leftMs(runningBatch(), NOW + 400)).toBe(600);
    expect(leftMs(runningBatch(), NOW + 5_000)).toBe(0);
  });

  test('and later when a job has ended meanwhile', () => {
    const before = runningBatch();
    const state = rules.moved(before, runningBatch(1), NOW + 800);
    expect(leftMs(state, NOW + 1_000)).toBe(800);
  });

  test('never without the option, while it is paused, once it was stopped, or when no job is pending', () => {
    const state = runningBatch();
    expect(rules.idleTimeLeftMs(state, SETTINGS, NOW)).toBeUndefined();
    expect(leftMs(rules.paused(state, true), NOW)).toBeUndefined();
    expect(leftMs(rules.cancelled(state, { reason: 'no', graceMs: 1 }), NOW)).toBeUndefined();
    const done = rules.moved(state, runningBatch(10), NOW);
    expect(leftMs(done, NOW)).toBeUndefined();
    expect(leftMs(rules.initialBatch(NOW), NOW)).toBeUndefined();
  });

  test('from its resumption on', () => {
    const paused = rules.paused(runningBatch(), true);
    const resumed = rules.moved(paused, rules.paused(paused, false), NOW + 9_000);
    expect(leftMs(resumed, NOW + 9_000)).toBe(1_000);
  });
});

describe('an alert', () => {
  test('is due when the rows say no more than was known', () => {
    const { state, isAlertDue } = check(runningBatch(), NOW + 1_000);
    expect(isAlertDue).toBe(true);
    expect(state.alerts).toBe(1);
  });

  test('is due once until something moves, though rows are asked again and again', () => {
    const { state } = check(runningBatch(), NOW + 1_000);
    expect(leftMs(state, NOW + 1_000)).toBe(1_000);
    const again = check(state, NOW + 2_000);
    expect(again.isAlertDue).toBe(false);
    const after = rules.moved(again.state, { ...again.state, completed: 3 }, NOW + 2_500);
    expect(check(after, NOW + 3_500).isAlertDue).toBe(true);
  });

  test('is not due when rows say that jobs of a chunk have ended; their time counts from then', () => {
    const { state, isAlertDue } = check(runningBatch(), NOW + 1_000, 4, 300);
    expect(isAlertDue).toBe(false);
    expect(leftMs(state, NOW + 1_000)).toBe(700);
    expect(check(state, NOW + 1_700, 4, 1_000).isAlertDue).toBe(true);
  });

  test('is not due when the batch was paused, or moved, while its rows were read', () => {
    const state = runningBatch();
    expect(check(rules.paused(state, true), NOW + 1_000).isAlertDue).toBe(false);
    const meanwhile = rules.moved(state, runningBatch(2), NOW + 999);
    expect(check(meanwhile, NOW + 1_000)).toEqual({ state: meanwhile, isAlertDue: false });
  });

  test('keeps the callback of the one before apart, while that still runs', () => {
    const { state: first } = check(runningBatch(), NOW + 1_000);
    const firing = rules.firing(first, 'idle');
    const moved = rules.moved(firing, { ...firing, completed: 1 }, NOW + 1_500);
    const { state: second, isAlertDue } = check(moved, NOW + 2_500, 1);
    expect(isAlertDue).toBe(true);
    expect(second).toMatchObject({ alerts: 2, calledForAlert: 1 });
    expect(rules.firing(rules.fired(second, 'idle'), 'idle').calledForAlert).toBe(2);
  });
});
