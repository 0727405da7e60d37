import type { BatchRow, RoundRow } from './evidence.ts';
import type { Findings } from './findings.ts';
import type { CallbackEntry, CallbackEvent } from './ledger.ts';
import { policiesOf } from './check-rounds.ts';

/** Events that happen once a round. */
const EVENTS: readonly CallbackEvent[] = ['complete', 'failure', 'cancelled', 'settled'];
const OUTCOME_EVENTS = EVENTS.slice(0, 3);

/** Of each round: its outcome's callback and that of `settled` ran, once, in this order, and saw how it ended. */
export function checkCallbacks(found: Findings, row: BatchRow): void {
  for (const round of found.batch.rounds) {
    for (const event of EVENTS) checkCallback(found, round, event);
    checkOrder(found, round);
  }
  checkAlerts(found, row);
}

/** What must not happen, whatever became of the batch. */
export function checkCallbacksDoubled(found: Findings): void {
  const { runs, effects } = found.batch;
  const rounds = new Set(runs.map(({ round }) => round));
  for (const round of rounds) {
    const where = found.nameOf(round);
    const scheduled = runs.flatMap((run) => (run.round === round ? run.scheduled : []));
    const starts = entriesIn(found, round).filter(({ what }) => what === 'callback-start');
    for (const event of EVENTS) {
      const times = scheduled.filter((other) => other === event).length;
      if (times > 1) found.add('doubled', `the callback of '${event}' was scheduled ${times} times${where}`);
      const attempts = starts.filter((entry) => entry.event === event).map(({ attempt }) => attempt);
      if (new Set(attempts).size < attempts.length) {
        found.add(
          'doubled',
          `the callback of '${event}' started with attempts ${attempts.join(', ')}${where}`,
        );
      }
      const committed = effects.filter(
        (effect) => effect.event === event && isIn(found, effect, round),
      ).length;
      if (committed > 1) {
        found.add('doubled', `the effect of '${event}' was committed ${committed} times${where}`);
      }
    }
    const started = OUTCOME_EVENTS.filter(
      (event) => scheduled.includes(event) || starts.some((entry) => entry.event === event),
    );
    if (started.length > 1) {
      found.add('doubled', `both ${started.map((event) => `'${event}'`).join(' and ')} started${where}`);
    }
  }
  const strangers = found.told.callbacks.filter(({ runId }) => !runs.some((run) => run.runId === runId));
  if (strangers.length > 0) {
    found.add(
      'wrong',
      `a callback was run by a workflow that is not the batch's: ${JSON.stringify(strangers[0])}`,
    );
  }
}

function checkCallback(found: Findings, round: RoundRow, event: CallbackEvent): void {
  const { expected, callbacks, effects, runs } = found.batch;
  const where = found.nameOf(round.round);
  const entries = entriesIn(found, round.round).filter((entry) => entry.event === event);
  const starts = entries.filter(({ what }) => what === 'callback-start');
  const shown = callbacks.find((callback) => callback.event === event && callback.round === round.round);
  if (event !== 'settled' && event !== eventOf(round)) {
    if (starts.length > 0) found.add('doubled', `'${event}' ran${where}, and the batch is ${round.status}`);
    if (shown && shown.status !== 'skipped') {
      found.add(
        'wrong',
        `the callback of '${event}' is ${shown.status}${where}, and the batch ${round.status}`,
      );
    }
    return;
  }
  if (found.told.registered.has(event)) {
    const hasEnded = entries.some(({ what }) => what === 'callback-end');
    if (!hasEnded) found.add('lost', `the callback of '${event}' never returned${where}`);
    if (shown?.status !== 'completed') {
      found.add('lost', `the callback of '${event}' is ${shown?.status ?? 'without a row'}${where}`);
    }
    if (!runs.some((run) => run.round === round.round && run.scheduled.includes(event))) {
      found.add('lost', `the callback of '${event}' was never scheduled${where}`);
    }
    const hasEffect = effects.some((effect) => effect.event === event && isIn(found, effect, round.round));
    if (expected.isTransactional && !hasEffect) {
      found.add('lost', `the callback of '${event}' has no effect${where}`);
    }
  }
  const isEarly = policiesOf(found, round.round).some(({ failWhen }) => failWhen === 'immediate');
  for (const { attempt, seen } of starts) {
    const text = `'${event}', attempt ${attempt}${where}`;
    if (seen!.status !== round.status || (event === 'settled' && !seen!.isSettled)) {
      found.add('doubled', `${text}, ran ahead of the row: ${JSON.stringify(seen)}`);
    }
    const isAllThere = seen!.complete + seen!.failed + seen!.cancelled === seen!.total;
    if (!(event === 'failure' && isEarly) && (seen!.pending !== 0 || !isAllThere)) {
      found.add('wrong', `${text}, ran before the jobs: ${JSON.stringify(seen)}`);
    }
  }
}

/** The outcome's callback has returned once before that of `settled` starts. */
function checkOrder(found: Findings, round: RoundRow): void {
  const entries = entriesIn(found, round.round);
  const settled = entries.findIndex(({ what, event }) => what === 'callback-start' && event === 'settled');
  if (settled < 0) return;
  const outcome = eventOf(round);
  const ended = entries.findIndex(({ what, event }) => what === 'callback-end' && event === outcome);
  if (found.told.registered.has(outcome) && (ended < 0 || ended > settled)) {
    found.add('wrong', `'settled' started before '${outcome}' had returned${found.nameOf(round.round)}`);
  }
}

/** An alert runs its callback once, unless that of an earlier one still runs. */
function checkAlerts(found: Findings, row: BatchRow): void {
  const { expected, runs, callbacks, rounds } = found.batch;
  const ran = runs.flatMap((run) => run.scheduled.filter((event) => event === 'idle').map(() => run.round));
  if (!expected.alertsWhenIdle && ran.length > 0)
    found.add('wrong', "'idle' ran, and no alert was to be given");
  const inLast = ran.filter((round) => round === rounds.length).length;
  if (inLast > row.alerts) found.add('doubled', `'idle' ran ${inLast} times for ${row.alerts} alerts`);
  for (const { event, status, round } of callbacks) {
    const isOver = ['completed', 'skipped'].includes(status);
    if (event === 'idle' && !isOver)
      found.add('lost', `the callback of 'idle' is ${status}${found.nameOf(round)}`);
  }
}

function eventOf({ status }: RoundRow): CallbackEvent {
  return status === 'failed' ? 'failure' : status === 'cancelled' ? 'cancelled' : 'complete';
}

function entriesIn(found: Findings, round: number): CallbackEntry[] {
  return found.told.callbacks.filter((entry) => isIn(found, entry, round));
}

/** Whether a run did it that works for this round. */
function isIn({ batch }: Findings, { runId }: { readonly runId: string }, round: number): boolean {
  return batch.runs.some((run) => run.runId === runId && run.round === round);
}
