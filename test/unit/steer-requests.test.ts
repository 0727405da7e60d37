import { describe, expect, test } from 'vitest';
import * as rules from '../../workflows/rules.ts';
import { SETTINGS, sealedState } from '../support/facts.ts';

const RUN = 'run';
const created = rules.wrote(rules.initialBatch(0, { runId: RUN }), 'created');
const seal = { token: `${RUN}/block`, upTo: 5, queues: [] };
const cancel = { reason: 'no need', graceMs: 0 };

describe('a request that was kept for a worker', () => {
  test('pauses, resumes and changes a batch, and is told to its runners', () => {
    const paused = rules.steerRequested(sealedState(), { isPaused: true });
    expect(paused).toMatchObject({ isPaused: true, steering: 1 });
    expect(rules.steerRequested(paused, { isPaused: true })).toBe(paused);
    const resumed = rules.steerRequested(paused, { isPaused: false });
    expect(resumed).toMatchObject({ isPaused: false, steering: 2 });
    const changed = rules.steerRequested(resumed, { changes: { failWhenFailed: 'all' } });
    expect(rules.policyOf(changed, SETTINGS).failWhenFailed).toBe('all');
  });

  test('changes nothing once the batch has settled or was stopped', () => {
    const stopped = rules.cancelled(sealedState(), cancel);
    const settled = sealedState({ completed: 10 });
    for (const state of [stopped, settled]) {
      expect(rules.steerRequested(state, { isPaused: true })).toBe(state);
      expect(rules.steerRequested(state, { changes: { failWhenFailed: 'all' } })).toBe(state);
    }
  });

  test.each([
    {},
    { isPaused: 'yes' },
    { isPaused: null, changes: null },
    { changes: 'all' },
    { changes: [] },
    { changes: { failWhenFailed: 'some' } },
    { changes: { jobLimits: null } },
    { changes: { jobLimits: { unknown: null } } },
    { changes: { maxConcurrentJobs: -1 } },
    { changes: { deadlineAt: 'soon' } },
    { changes: { context: {} } },
  ])('changes nothing when it is malformed: %j', (request) => {
    const state = sealedState();
    const next = rules.steerRequested(state, request as rules.SteerRequest);
    expect({ ...next, steering: 0, changes: {} }).toEqual({ ...state, steering: 0, changes: {} });
    expect(rules.policyOf(next, SETTINGS)).toEqual(rules.policyOf(state, SETTINGS));
  });
});

describe('a block that is sealed after a cancel, both kept for a worker,', () => {
  const stopped = rules.decided(rules.cancelled(created, cancel), SETTINGS);

  test('leaves its jobs to the batch, which is cancelled with them', () => {
    const state = rules.sealed(stopped, seal, 1);
    expect(state.enrolled).toBe(5);
    expect(rules.progressOf(state)).toMatchObject({
      status: 'cancelled',
      total: 5,
      cancelled: 5,
      pending: 0,
    });
    expect(rules.sealed(state, seal, 2)).toEqual(state);
  });

  test('adds none when it is of another batch, malformed, or the rows were sealed before', () => {
    for (const message of [
      { ...seal, token: 'other/block' },
      { ...seal, upTo: -1 },
    ])
      expect(rules.sealed(stopped, message, 1)).toBe(stopped);
    const written = rules.wrote(stopped, 'sealed');
    expect(rules.sealed(written, seal, 1)).toBe(written);
  });

  test('that had been heard keeps its own jobs only', () => {
    const open = rules.opened(created, seal.token, 0);
    const cancelled = rules.cancelled(open, cancel);
    expect(rules.sealed(cancelled, seal, 1).enrolled).toBe(5);
    expect(rules.sealed(cancelled, { ...seal, token: `${RUN}/other` }, 1)).toBe(cancelled);
  });
});

test.each([
  ['failed', 'BATCH_FAILED'],
  ['cancelled', 'BATCH_CANCELLED'],
] as const)('a batch that was stopped and ends %s refuses a block with %s', (outcome, code) => {
  const state = rules.stopped(created, { outcome, reason: 'r', graceMs: 0 });
  expect(rules.refuseOpen(state)).toMatchObject({ code });
  expect(rules.refuseSeal(state, seal)).toMatchObject({ code });
});
