import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as batches from '../../src/database/batches.ts';
import * as callbacks from '../../src/database/callbacks.ts';
import * as chunks from '../../src/database/chunks.ts';
import * as enrollment from '../../src/database/enroll.ts';
import * as numbered from '../../src/database/enroll-numbered.ts';
import * as missing from '../../src/database/missing-rows.ts';
import * as pruning from '../../src/database/prune.ts';
import * as rounds from '../../src/database/rounds.ts';
import { migrationSql } from '../../src/index.ts';
import * as rules from '../../workflows/rules.ts';
import type { BatchOutcome, BatchState } from '../../workflows/batch-state.ts';
import { diagramOf, missingFrom } from '../support/state-diagrams.ts';
import { EVENT_NAMES, unknownRules, walkBatch } from '../support/state-walk.ts';

// docs/states.md draws what the code does. Read as text, so that the page cannot rot.
const source = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
const BATCH_STATE = source('workflows/batch-state.ts');
const RULES = [
  BATCH_STATE,
  ...['idleness', 'ranges', 'steering'].map((name) => source(`workflows/${name}.ts`)),
];
const ROWS = source('src/database/rows.ts');
const SQL = await migrationSql();

const WRITES = Object.keys({
  ...batches,
  ...callbacks,
  ...chunks,
  ...enrollment,
  ...missing,
  ...numbered,
  ...pruning,
  ...rounds,
});

/** What a batch may be, as each of its diagrams looks at it. */
const VIEWS = {
  'Batch: status': (state: BatchState) => (rules.isDiscarded(state) ? '[*]' : rules.progressOf(state).status),
  'Batch: enrolment block': ({ enrollment: { phase } }: BatchState) => phase,
  'Batch: steering': ({ stop, isPaused }: BatchState) => (stop ? 'stopped' : isPaused ? 'paused' : 'going'),
};
const BATCH_DIAGRAMS = Object.keys(VIEWS) as (keyof typeof VIEWS)[];
const DIAGRAMS = [...BATCH_DIAGRAMS, 'Job', 'Callback'] as const;

/** The members of a union of string literals and of such unions. */
function unionOf(text: string, name: string): string[] {
  const union = new RegExp(`\\b${name}(?: =|:)\\s+([^;]+);`).exec(text)?.[1];
  if (!union) throw new Error(`No union named ${name} was found.`);
  const members = union.split('|').map((member) => member.trim());
  return members
    .flatMap((member) => (member.startsWith("'") ? [member.slice(1, -1)] : unionOf(text, member)))
    .sort();
}

/** The values that the check constraint of a column lets in. */
function checkOf(table: string, column: string): string[] {
  const definition = SQL.split(`.${table} (`)[1]?.split(';')[0];
  const values = new RegExp(`\\(${column} in \\(([^)]+)\\)`).exec(definition ?? '')?.[1];
  if (!values) throw new Error(`${table}.${column} has no check constraint.`);
  return [...values.matchAll(/'([^']+)'/g)].map(([, value]) => value!).sort();
}

describe('docs/states.md', () => {
  test.each(DIAGRAMS)('draws "%s" with arrows and notes that are read', (heading) => {
    expect(diagramOf(heading).unread).toEqual([]);
  });

  test('has every status of a batch', () => {
    const { states } = diagramOf('Batch: status');
    expect(states).toEqual(unionOf(BATCH_STATE, 'BatchStatus'));
    expect(states).toEqual(checkOf('batches', 'status'));
  });

  test('has every phase of an enrolment block', () => {
    expect(diagramOf('Batch: enrolment block').states).toEqual(unionOf(BATCH_STATE, 'phase'));
  });

  test('has every status of a job; no row says cancelled', () => {
    const { states } = diagramOf('Job');
    expect(states).toEqual(unionOf(ROWS, 'JobStatus'));
    expect(states).toEqual([...checkOf('batch_jobs', 'status'), 'cancelled'].sort());
  });

  test('has every status of a callback', () => {
    const { states } = diagramOf('Callback');
    const row = ROWS.slice(ROWS.indexOf('interface CallbackRow'));
    expect(states).toEqual(unionOf(row, 'status'));
    expect(states).toEqual(checkOf('batch_callbacks', 'status'));
  });

  test('says which events each outcome fires', () => {
    const { running, ...fires } = diagramOf('Batch: status').fires;
    expect(running).toEqual(['idle']);
    const outcomes = unionOf(BATCH_STATE, 'BatchOutcome') as BatchOutcome[];
    expect(fires).toEqual(
      Object.fromEntries(outcomes.map((outcome) => [outcome, [rules.eventOf(outcome), 'settled']])),
    );
    for (const outcome of outcomes)
      expect(fires[outcome]).not.toEqual(expect.arrayContaining(rules.eventsThatNeverFire(outcome)));
    const events = [...new Set([...Object.values(fires).flat(), 'idle'])].sort();
    expect(events).toEqual(unionOf(BATCH_STATE, 'BatchEvent'));
    expect(events).toEqual(checkOf('batch_callbacks', 'event'));
  });

  test('names what makes each change of a row: a function of src/database', () => {
    const writes = (['Job', 'Callback'] as const).flatMap((heading) => diagramOf(heading).transitions);
    expect(writes.map(({ event }) => event).filter((name) => !WRITES.includes(name))).toEqual([]);
  });
});

describe('the walk through all that can happen to a small batch', () => {
  const found = walkBatch(VIEWS);

  test('knows every rule that makes a new state', () => {
    expect(
      RULES.flatMap(unknownRules),
      'Rules of workflows/rules.ts that are missing from EVENTS in test/support/state-walk.ts',
    ).toEqual([]);
  });

  test.each(BATCH_DIAGRAMS)('finds the arrows of "%s", and no others', (heading) => {
    // What a prune does is done to rows: no rule of the batch makes it.
    const drawn = diagramOf(heading).transitions.filter(({ event }) => !WRITES.includes(event));
    expect(
      missingFrom(found[heading], drawn),
      `Arrows that are missing from "${heading}" in docs/states.md`,
    ).toEqual([]);
    expect(
      missingFrom(drawn, found[heading]),
      `Arrows of "${heading}" in docs/states.md that nothing makes`,
    ).toEqual([]);
  });

  test('meets every event that a diagram names', () => {
    const named = BATCH_DIAGRAMS.flatMap((heading) => diagramOf(heading).transitions);
    const known = [...EVENT_NAMES, ...WRITES, 'initialBatch'];
    expect(named.map(({ event }) => event).filter((name) => !known.includes(name))).toEqual([]);
  });
});
