import { policyOf, terminalCounts, type BatchSettings, type BatchState } from './batch-state.ts';

/** The rules of noticing that no job of a batch has ended for long: pure functions, as in batch-state.ts. */

/** How long until its rows are to be asked whether it stands still; undefined: for ever, or until something changes. */
export function idleTimeLeftMs(state: BatchState, settings: BatchSettings, now: number): number | undefined {
  const { alertAfterIdleMs } = policyOf(state, settings);
  const { ended, movedAt, checkedAt } = state.movement;
  if (alertAfterIdleMs === null || state.isPaused || state.stop || ended >= state.enrolled) return undefined;
  return Math.max(0, Math.max(movedAt, checkedAt) + alertAfterIdleMs - now);
}

/** The state with the time of what moved since the one before: jobs ended, the first ones came, or it was resumed. */
export function moved(before: BatchState, state: BatchState, now: number): BatchState {
  const { completed, failed } = terminalCounts(state);
  const ended = Math.max(state.movement.ended, completed + failed);
  const isWaitingAgain =
    (before.isPaused && !state.isPaused) ||
    (before.enrolled <= before.movement.ended && state.enrolled > state.movement.ended);
  if (ended === state.movement.ended && !isWaitingAgain) return state;
  return { ...state, movement: { ...state.movement, ended, movedAt: now } };
}

/**
 * What the rows say when nothing was reported for long: jobs of a chunk may have ended whose others still run.
 *
 * @returns `isAlertDue` once each time that it stands still
 */
export function idleChecked(
  state: BatchState,
  settings: BatchSettings,
  rows: { readonly ended: number; readonly idleMs: number },
  now: number,
): { state: BatchState; isAlertDue: boolean } {
  if (idleTimeLeftMs(state, settings, now) !== 0) return { state, isAlertDue: false };
  const { movement } = state;
  if (rows.ended > movement.ended) {
    const movedAt = now - Math.max(0, rows.idleMs);
    return {
      state: { ...state, movement: { ...movement, ended: rows.ended, movedAt, checkedAt: movedAt } },
      isAlertDue: false,
    };
  }
  const isAlertDue = movement.alertedFor !== movement.movedAt;
  const next = { ...movement, checkedAt: now, alertedFor: movement.movedAt };
  return { state: { ...state, movement: next, alerts: state.alerts + (isAlertDue ? 1 : 0) }, isAlertDue };
}
