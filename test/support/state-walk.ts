import * as rules from '../../workflows/rules.ts';
import type { BatchPolicy, BatchSettings, BatchState } from '../../workflows/batch-state.ts';
import { jobsAdded, wroteSeal } from '../../workflows/more-jobs.ts';
import { initialRange } from '../../workflows/range-state.ts';
import { roundOpened, type OpenedRound } from '../../workflows/rounds.ts';
import { subtract } from '../../workflows/spans.ts';
import { RETRY } from './facts.ts';

/** An arrow of a state diagram: the event leads from one state to another. */
export interface Transition {
  readonly from: string;
  readonly to: string;
  readonly event: string;
}

type Event = (state: BatchState, settings: BatchSettings) => readonly BatchState[];

const NOW = 1_000_000;
const RUN = 'run';
const TOKEN = `${RUN}/token`;
/** Enough for one that fails and one that does not. */
const MAX_JOBS = 2;
/** The walk ends long before; a rule that makes states without end is to be found out. */
const MAX_STATES = 20_000;

const unless = (refusal: unknown, next: () => BatchState): BatchState[] => (refusal ? [] : [next()]);
const counts = [...Array(MAX_JOBS + 1).keys()];

/**
 * What can happen to a batch: each rule of batch-state.ts that makes a new state, with all that it may be given in a
 * batch of so few jobs, where the batch's workflow would call it.
 */
const EVENTS: Readonly<Record<string, Event>> = {
  opened: (state) => unless(rules.refuseOpen(state), () => rules.opened(state, TOKEN, NOW)),
  takenOver: (state) => unless(rules.refuseOpen(state), () => rules.takenOver(state, TOKEN, NOW)),
  enrolled: (state) =>
    [0, MAX_JOBS].map((upTo) => rules.enrolled(state, { token: TOKEN, upTo, queues: [] }, NOW)),
  sealed: (state) =>
    [0, MAX_JOBS]
      .flatMap((upTo) => [{ upTo }, { upTo, error: 'The block threw' }])
      .map((part) => ({ token: state.enrollment.token ?? TOKEN, queues: [], ...part }))
      .flatMap((message) =>
        unless(rules.refuseSeal(state, message), () => rules.sealed(state, message, NOW)),
      ),
  enrollmentTimedOut: (state, settings) =>
    unless(rules.quietTimeMs(state, settings) === undefined, () => rules.enrollmentTimedOut(state, settings)),
  cancelled: (state) => [rules.cancelled(state, { reason: 'asked to', graceMs: 0 })],
  paused: (state) => unless(rules.refusePause(state), () => rules.paused(state, true)),
  resumed: (state) => unless(rules.refuseResume(state), () => rules.paused(state, false)),
  updated: (state) =>
    CHANGES.flatMap((changes) =>
      unless(rules.refuseUpdate(state, changes), () => rules.updated(state, changes)),
    ),
  deadlinePassed: (state, settings) => [rules.deadlinePassed(state, settings, NOW)],
  assignRanges: (state, settings) => [rules.assignRanges(state, settings).state],
  reported: (state) =>
    Object.keys(state.runners).flatMap((runner) =>
      counts.flatMap((completed) =>
        counts.flatMap((failed) =>
          [false, true].map((ended) => rules.reported(state, { runner, completed, failed, ended })),
        ),
      ),
    ),
  failuresNoticed: (state) => [rules.failuresNoticed(state, { failed: state.enrolled })],
  runnerLost: (state) => Object.keys(state.runners).map((runner) => rules.runnerLost(state, runner).state),
  rangeReturned: (state, settings) =>
    Object.entries(state.runners).flatMap(([runner, { from, to, returns }]) =>
      ['', `${from}`].map((kept) => {
        const range = initialRange(subtract([[from, to]], kept === '' ? [] : [[from, from]]));
        const message = { runner, returns, range, kept, idle: false };
        return rules.rangeReturned(state, settings, message, { isLimited: false, mayRunInline: true }).state;
      }),
    ),
  recounted: (state) => unless(!rules.isStranded(state), () => rules.recounted(state, [])),
  counted: (state) =>
    unless(!(state.stop && rules.isSettled(state)), () =>
      rules.counted(state, { ...rules.terminalCounts(state), total: state.enrolled }),
    ),
  registered: (state) => [
    rules.registered(state, {
      event: 'settled',
      callback: 'Mail',
      startToCloseTimeoutMs: 1,
      retry: RETRY,
    }),
  ],
  eventsClosed: (state) => [rules.eventsClosed(state, ['settled'])],
  firing: (state) => [rules.firing(state, 'settled')],
  fired: (state) => [rules.fired(state, 'settled')],
  wrote: (state) => [rules.wrote(state, 'outcome')],
  // An outcome that is not written is nobody's yet: where jobs are added then, it is taken back unseen.
  jobsAdded: (state) =>
    unless(state.outcome !== null, () =>
      jobsAdded(state, { runId: RUN, upTo: MAX_JOBS, queues: [] }, { runId: RUN, now: NOW }),
    ),
  wroteSeal: (state) =>
    [0, MAX_JOBS].flatMap((total) =>
      unless(state.enrollment.phase !== 'sealing' || total < state.enrolled, () =>
        wroteSeal(state, { total, queues: [], error: state.enrollment.error }),
      ),
    ),
  wroteSteering: (state) => [rules.wroteSteering(state, state.steering)],
  steeredBefore: (state) =>
    ([undefined, 'failed', 'cancelled'] as const).map((outcome) =>
      rules.steeredBefore(state, {
        steering: state.steering,
        stop: outcome === undefined ? null : { outcome, reason: 'a lost task', graceMs: 0 },
      }),
    ),
  idleChecked: (state, settings) => [
    rules.idleChecked(state, settings, { ended: 0, idleMs: 0 }, NOW + 10).state,
  ],
  roundOpened: (state) =>
    unless(!state.isOpeningRound, () =>
      roundOpened(state, { number: 2, cancelled: false, callbacks: [] }, ROUND),
    ),
};

/** Rules under another name in `EVENTS`, and those that other rules call: their transitions are those of the event. */
const PARTS_OF_EVENTS = [
  'initialBatch',
  'initialRound',
  'decided',
  'moved',
  'newLanes',
  'steerRequested',
  'steeringHeardOf',
  'stopped',
  'withJobs',
];

/** One of two jobs runs again. */
const ROUND: OpenedRound = {
  spans: '2',
  total: MAX_JOBS,
  others: { completed: 1, failed: 0, cancelled: 0 },
  cancelled: 0,
  queues: [],
  enrollmentError: null,
};

/** The strictest policy; what it starts with is the mildest. */
const CHANGES: readonly Partial<BatchPolicy>[] = [{ failWhen: 'immediate', failWhenFailed: 'any' }];

const SETTINGS: readonly BatchSettings[] = (
  [
    { afterFailure: 'continue', afterDeadline: 'fail' },
    { afterFailure: 'cancelRemaining', afterDeadline: 'cancel' },
  ] as const
).map((policy) => ({
  ...policy,
  failWhen: 'settled',
  alertAfterIdleMs: 1,
  autoSeal: true,
  jobLimits: {},
  maxConcurrentJobs: null,
  perSecond: null,
  failWhenFailed: { moreThan: 1 },
  deadlineAt: NOW,
  enrollmentTimeoutMs: 1_000,
  openTimeoutMs: 1_000,
  unknownJobTimeoutMs: 1_000,
  workflowCheckIntervalMs: 30_000,
  maxHistoryEvents: 4_000,
}));

/** Rules in this source that make a new state, and that the walk does not know. */
export function unknownRules(source: string): string[] {
  const makers = [...source.matchAll(/^export function (\w+)\(.*?\): ([^\n]+) \{$/gms)]
    .filter(([, , result]) => /\bBatchState\b/.test(result!))
    .map(([, name]) => name!);
  return makers.filter((name) => !(name in EVENTS) && !PARTS_OF_EVENTS.includes(name));
}

/** Names of events, as the walk and the diagrams have them. */
export const EVENT_NAMES: readonly string[] = Object.keys(EVENTS);

/**
 * Walks through all states that a small batch can reach, under every policy.
 *
 * @param views what of a state to look at, by name: a status, a phase
 * @returns for each view, the changes that were seen, each once
 */
export function walkBatch<View extends string>(
  views: Readonly<Record<View, (state: BatchState) => string>>,
): Record<View, Transition[]> {
  const names = Object.keys(views) as View[];
  const seen = new Map(names.map((name) => [name, new Map<string, Transition>()]));
  const note = (name: View, transition: Transition) =>
    seen.get(name)!.set(Object.values(transition).join(' '), transition);
  for (const settings of SETTINGS) {
    const [initial, openEnded] = [
      rules.initialBatch(NOW, { runId: RUN }),
      rules.initialBatch(NOW, { runId: RUN, isOpenEnded: true }),
    ];
    for (const name of names)
      for (const state of [initial, openEnded])
        note(name, { from: '[*]', to: views[name](state), event: 'initialBatch' });
    // How a later round comes to be is a matter of rows.
    const left = [initial, openEnded, rules.initialRound([], NOW)];
    const reached = new Set(left.map(keyOf));
    for (let state = left.pop(); state; state = left.pop()) {
      for (const [event, happen] of Object.entries(EVENTS)) {
        for (const next of happen(state, settings).map((changed) => rules.decided(changed, settings))) {
          if (next === state) continue;
          for (const name of names) {
            const [from, to] = [views[name](state), views[name](next)];
            if (from !== to) note(name, { from, to, event });
          }
          const key = keyOf(next);
          if (reached.has(key) || rules.isDiscarded(next)) continue;
          if (reached.add(key).size > MAX_STATES) {
            throw new Error(
              `More than ${MAX_STATES} states: is a part of them IRRELEVANT? The last one: ${key}`,
            );
          }
          left.push(next);
        }
      }
    }
  }
  return Object.fromEntries(names.map((name) => [name, [...seen.get(name)!.values()]])) as Record<
    View,
    Transition[]
  >;
}

/** Texts, numbers that only grow, and what was written and called since: with them the walk would never end. */
const IRRELEVANT: readonly string[] = [
  'alerts',
  'calledForAlert',
  'callbacks',
  'closedEvents',
  'fired',
  'firing',
  'heardAt',
  'movement',
  'reason',
  'returns',
  'runnersStarted',
  'steering',
  'steeringWritten',
  'token',
  'written',
];

function keyOf({ runners, ...state }: BatchState): string {
  // What runners are called is irrelevant, too.
  return JSON.stringify({ ...state, runners: Object.values(runners) }, (name, value: unknown) => {
    if (name === 'error') return value !== null;
    return IRRELEVANT.includes(name) ? undefined : value;
  });
}
