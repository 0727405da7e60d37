import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { markAlerted, markFinished, markSealed } from '../../src/database/batches.ts';
import {
  insertCallback,
  markAlertCallbackScheduled,
  markCallbackCompleted,
  markCallbackFailure,
  markCallbackRetried,
  markCallbackRunning,
} from '../../src/database/callbacks.ts';
import { markComplete, markFailures, type Failure } from '../../src/database/chunks.ts';
import type { Database } from '../../src/database/connect.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import { insertNumbered, type NumberedJobs } from '../../src/database/enroll-numbered.ts';
import { deleteSlice } from '../../src/database/prune.ts';
import { markMissing } from '../../src/database/missing-rows.ts';
import { markRoundOpened } from '../../src/database/rounds.ts';
import { RETRY, SETTINGS } from '../support/facts.ts';
import { diagramOf, missingFrom } from '../support/state-diagrams.ts';
import type { Transition } from '../support/state-walk.ts';
import { createWorld, type World } from '../support/world.ts';

// docs/states.md draws what may become of a row. Here each write meets a row in each status.
let world: World;
let database: Database;
beforeAll(async () => {
  world = await createWorld();
  ({ database } = world.batches);
});
afterAll(() => world[Symbol.asyncDispose]());

const GONE = '[*]';
const ID = 'b';
const JOB = ['Noop', '[]', null, null, null] as const;
const FAILURE: Failure = {
  position: 1,
  attempt: 1,
  startedAt: 1,
  finishedAt: 2,
  retryInMs: null,
  errorClass: 'Error',
  errorMessage: 'broken',
};
const finish = {
  batchId: ID,
  round: 1,
  outcome: 'complete',
  settled: true,
  total: null,
  schedule: [],
  skip: [],
} as const;
const key = { batchId: ID, round: 1, event: 'complete', callback: 'Mail' } as const;
const running = { batchId: ID, round: 1 };
const nextRound = {
  batchId: ID,
  number: 2,
  cancelled: true,
  firstExecutionRunId: 'run 2',
  settings: SETTINGS,
} as const;

const numbered: NumberedJobs = {
  batchId: ID,
  adder: { token: 'run' },
  jobs: [{ job: JOB, key: 'key:1' }],
  queues: [],
  isRepeated: false,
};

/** What runs on a row, and the name of what ran. */
type Write = readonly [event: string, run: () => Promise<unknown>];

const claim = () =>
  table('batches').update({
    status: 'complete',
    pruned_at: new Date(),
    settled_at: new Date(),
    completed_at: new Date(),
  });

const JOB_WRITES: readonly Write[] = [
  ['insertJobs', () => insertJobs(database, ID, 1, [JOB])],
  ['insertNumbered', () => insertNumbered(database, numbered)],
  ['markComplete', () => markComplete(database, running, [FAILURE])],
  ['markFailures', () => markFailures(database, running, [{ ...FAILURE, retryInMs: 1_000 }])],
  ['markFailures', () => markFailures(database, running, [FAILURE])],
  ['markMissing', () => markMissing(database, running, [1])],
  ['markFinished', () => markFinished(database, finish)],
  ['markSealed', () => markSealed(database, { batchId: ID, total: 1, error: null })],
  ['markRoundOpened', () => markRoundOpened(database, nextRound)],
  ['deleteSlice', () => claim().then(() => deleteSlice(database, ID, 0, 10))],
];

const CALLBACK_WRITES: readonly Write[] = [
  ['insertCallback', () => insertCallback(database, { ...key, startToCloseTimeoutMs: 1, retry: RETRY })],
  ['markFinished', () => markFinished(database, { ...finish, schedule: ['complete'] })],
  ['markFinished', () => markFinished(database, { ...finish, skip: ['complete'] })],
  ['markCallbackRunning', () => markCallbackRunning(database, key)],
  ['markCallbackCompleted', () => markCallbackCompleted(database, key)],
  [
    'markCallbackFailure',
    () => markCallbackFailure(database, key, { errorClass: 'Error', errorMessage: 'broken', final: true }),
  ],
  ['markCallbackRetried', () => markCallbackRetried(database, { ...key, retry: 1, isAbandoned: false })],
  ['markCallbackRetried', () => markCallbackRetried(database, { ...key, retry: 1, isAbandoned: true })],
  [
    'markRoundOpened',
    () =>
      markRoundOpened(database, {
        ...nextRound,
        lost: { firstExecutionRunId: 'run', reason: 'its workflow was terminated' },
      }),
  ],
  ['deleteSlice', () => claim().then(() => deleteSlice(database, ID, 0, 10))],
];

const table = (name: string) => world.knex.withSchema(world.schema).from(name);

/** A sealed batch, or one whose block is open. */
async function insertBatch(sealed = true): Promise<void> {
  await table('batches').delete();
  await table('batches').insert({
    id: ID,
    first_execution_run_id: 'run',
    description: 'Rows',
    total: 1,
    ...(sealed ? { status: 'running', sealed_at: new Date() } : {}),
  });
}

async function insertJob(status: string, isSealed = true): Promise<void> {
  const row = { batch_id: ID, position: 1, jid: 'b/1', worker_class: 'Noop', args: '[]' };
  if (status === GONE) return;
  await table('batch_jobs').insert({
    ...row,
    ...(status === 'complete' || status === 'failed' ? { status, finished_at: new Date() } : {}),
    ...(status === 'failed' ? { error_class: 'Error' } : {}),
  });
  if (status === 'failed' && isSealed) await markFinished(database, { ...finish, outcome: 'failed' });
  if (status === 'cancelled') await markFinished(database, { ...finish, outcome: 'cancelled' });
}

async function jobStatus(): Promise<string> {
  const view = await table('jobs').first('status');
  const { length } = await table('batch_jobs').select('position');
  return length === 0 ? GONE : view.status;
}

async function callbackStatus(): Promise<string> {
  return (await table('batch_callbacks').where({ round: 1 }).first('status'))?.status ?? GONE;
}

describe('the rows of jobs', () => {
  test('change as the diagram "Job" of docs/states.md draws it, and in no other way', async () => {
    const { states, transitions } = diagramOf('Job');
    const found: Transition[] = [];
    for (const from of [GONE, ...states]) {
      for (const [event, run] of JOB_WRITES) {
        // Jobs come while the block is open; a batch that has settled is sealed.
        const isSealed = !event.startsWith('insert') || from === 'cancelled';
        await insertBatch(isSealed);
        await insertJob(from, isSealed);
        await run();
        found.push({ from, to: await jobStatus(), event });
      }
    }
    // Its block ends without having announced it.
    await insertBatch(false);
    await insertJob('pending');
    await markSealed(database, { batchId: ID, total: 0, error: null });
    found.push({ from: 'pending', to: await jobStatus(), event: 'markSealed' });
    // A job that is pending when its batch has settled is cancelled.
    const changes = found.filter(
      ({ from, to, event }) => from !== to || (event === 'markFailures' && from === 'pending'),
    );
    const isDrawn = ({ from, event }: Transition) => !(from === 'pending' && event === 'deleteSlice');
    expect(missingFrom(changes.filter(isDrawn), transitions)).toEqual([]);
    expect(missingFrom(transitions, changes)).toEqual([]);
  });
});

describe('the rows of callbacks', () => {
  test('can change as the diagram "Callback" of docs/states.md draws it, and a completed one in no way', async () => {
    const { states, transitions } = diagramOf('Callback');
    const found: Transition[] = [];
    const again: Transition[] = [];
    for (const from of [GONE, ...states]) {
      for (const [event, run] of CALLBACK_WRITES) {
        await insertBatch();
        if (from !== GONE) {
          await table('batch_callbacks').insert({
            batch_id: ID,
            event: 'complete',
            callback: 'Mail',
            status: from,
          });
        }
        await run();
        found.push({ from, to: await callbackStatus(), event });
      }
      if (from === GONE) continue;
      // The one callback that may run again.
      await insertBatch();
      await table('batch_callbacks').insert({ batch_id: ID, event: 'idle', callback: 'Mail', status: from });
      await markAlerted(database, { ...running, alerts: 1 });
      await markAlertCallbackScheduled(database, { ...running, alert: 1 });
      again.push({ from, to: await callbackStatus(), event: 'markAlerted' });
    }
    const isAgain = ({ event }: Transition) => event === 'markAlerted';
    expect(missingFrom(transitions.filter(isAgain), again)).toEqual([]);
    expect(
      missingFrom(
        transitions.filter((drawn) => !isAgain(drawn)),
        found,
      ),
    ).toEqual([]);
    const after = (status: string) =>
      found.filter(({ from, to }) => from === status && ![from, GONE].includes(to));
    expect(after('completed')).toEqual([]);
    expect(after(GONE)).toEqual([{ from: GONE, to: 'registered', event: 'insertCallback' }]);
  });
});
