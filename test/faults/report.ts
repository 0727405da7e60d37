import Table from 'cli-table3';
import { noCasualties, type Casualties } from './injector.ts';
import { describePlan, planRound, type FaultKind } from './plan.ts';
import type { RoundResult } from './round.ts';
import type { ViolationKind } from './findings.ts';

/** What a run of rounds comes to. */
export interface Summary extends Casualties, Record<ViolationKind, number> {
  readonly rounds: number;
  readonly failedRounds: number;
  readonly batches: number;
  /** Further rounds of these batches. */
  readonly retries: number;
  readonly jobs: number;
  /** Those of them that are workflows. */
  readonly workflows: number;
  readonly seconds: number;
  /** Seeds of the rounds with violations. */
  readonly failedSeeds: readonly number[];
}

export function summarize(results: readonly RoundResult[], seconds: number): Summary {
  const sum = (count: (result: RoundResult) => number) =>
    results.reduce((total, result) => total + count(result), 0);
  const ofKind = (kind: ViolationKind) =>
    sum(({ violations }) => violations.filter((violation) => violation.kind === kind).length);
  const casualties = noCasualties();
  for (const key of Object.keys(casualties) as (keyof Casualties)[]) {
    casualties[key] = sum((result) => result.casualties[key]);
  }
  const failedSeeds = results.filter(({ violations }) => violations.length > 0).map(({ seed }) => seed);
  return {
    rounds: results.length,
    failedRounds: failedSeeds.length,
    batches: sum(({ batches }) => batches),
    retries: sum(({ retries }) => retries),
    jobs: sum(({ jobs }) => jobs),
    workflows: sum(({ workflows }) => workflows),
    ...casualties,
    lost: ofKind('lost'),
    doubled: ofKind('doubled'),
    stuck: ofKind('stuck'),
    wrong: ofKind('wrong'),
    seconds: Math.round(seconds),
    failedSeeds,
  };
}

export function summaryTable(summary: Summary): string {
  const table = new Table({ style: { head: [], border: [] }, colAligns: ['left', 'right'] });
  const rows: [string, number][] = [
    ['rounds', summary.rounds],
    ['batches', summary.batches],
    ['further rounds of batches', summary.retries],
    ['jobs', summary.jobs],
    ['jobs that are workflows', summary.workflows],
    ['workers killed', summary.workersKilled],
    ['workers stopped and started again', summary.workersStopped],
    ['enqueuers killed', summary.enqueuersKilled],
    ['processes paused', summary.pauses],
    ['restarts of Temporal', summary.temporalRestarts],
    ['restarts of Postgres', summary.postgresRestarts],
    ['connections dropped', summary.connectionsDropped],
    ['times connections were frozen', summary.freezes],
    ['times the database was read-only', summary.readOnlyTimes],
    ['signals repeated', summary.signalsRepeated],
    ['batches paused', summary.batchesPaused],
    ['batches cancelled', summary.batchesCancelled],
    ['batches changed', summary.batchesChanged],
    ['runners terminated', summary.runnersTerminated],
    ['workflows of the app ended', summary.workflowsEnded],
    ['lost', summary.lost],
    ['doubled', summary.doubled],
    ['stuck', summary.stuck],
    ['wrong', summary.wrong],
  ];
  table.push(...rows.map(([name, value]) => [name, value.toLocaleString('en-US')]));
  return `${table.toString()}\n${summary.rounds} rounds in ${summary.seconds} s`;
}

/** A round in one line, and with all that it takes to look into it where it failed. */
export function describeRound(result: RoundResult, kinds: readonly FaultKind[] | undefined): string {
  const { seed, batches, jobs, workflows, violations, seconds, folder } = result;
  const some = workflows === 0 ? '' : ` (${workflows} workflows)`;
  const line = `seed ${seed}: ${batches} batches, ${jobs} jobs${some}, ${seconds.toFixed(0)} s`;
  if (violations.length === 0) return `${line}, clean`;
  const only = kinds === undefined ? '' : ` --only ${kinds.join(',') || 'none'}`;
  return [
    `${line}, ${violations.length} ${violations.length === 1 ? 'violation' : 'violations'}`,
    ...violations.map(
      ({ kind, batch, message }) => `  ${kind}: ${batch === null ? '' : `${batch}: `}${message}`,
    ),
    ...describePlan(planRound(seed, kinds)).map((text) => `  | ${text}`),
    `  evidence: ${folder}`,
    `  again: npm run faults -- --rounds 1 --seed ${seed}${only}`,
  ].join('\n');
}
