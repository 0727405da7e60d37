import {
  isMoving,
  type ActivityFacts,
  type Facts,
  type MirrorFacts,
  type TemporalFacts,
  type UnknownFacts,
} from './facts.ts';
import { LATE } from '../timeouts.ts';
import type { Finding } from './findings.ts';
import { counted, groupBy, inTime, oneLine, quote, span } from './words.ts';

/** Losses longer ago than this are over. */
const RECENT_LOSS_MS = 10 * 60_000;

/** Jobs that nobody knows, that were lost, that run, or that wait for a time to come. */
export function jobFindings(facts: Facts, temporal: TemporalFacts): Finding[] {
  return [
    ...rowsSought(temporal),
    ...unknownJobs(facts, temporal),
    ...workersLost(facts, temporal),
    ...longRunning(facts, temporal),
    ...(facts.mirror ? [...retries(facts, facts.mirror), ...startDelays(facts, facts.mirror)] : []),
  ];
}

function unknownJobs({ now }: Facts, { unknown, settings }: TemporalFacts): Finding[] {
  const named = unknown.filter(
    (facts): facts is UnknownFacts & { workerClass: string } => !!facts.workerClass,
  );
  return groupBy(named, ({ workerClass }) => workerClass).map(([workerClass, jobs]): Finding => {
    const count = jobs.reduce((sum, job) => sum + job.count, 0);
    const since = Math.min(...jobs.map((job) => job.since));
    const failsAt = settings === undefined ? null : since + settings.unknownJobTimeoutMs;
    return {
      code: 'UNKNOWN_JOB',
      severity: 'attention',
      message: `No worker that was asked knows a job named ${quote(workerClass)}: ${counted(count, 'job')} ${count === 1 ? 'waits' : 'wait'}.`,
      advice:
        'Give it to createBatchWorker({ jobs }) of every worker on its task queue.' +
        (failsAt === null
          ? ''
          : ` Otherwise ${count === 1 ? 'it fails' : 'they fail'} ${inTime(failsAt - now)} (unknownJobTimeout).`),
      since,
      details: { workerClass, count, failsAt },
    };
  });
}

/** Workers did not find rows, and ask for them again: a replica may lag. */
function rowsSought({ unknown }: TemporalFacts): Finding[] {
  const sought = unknown.filter(({ workerClass }) => workerClass === null);
  if (sought.length === 0) return [];
  const count = sought.reduce((sum, facts) => sum + facts.count, 0);
  return [
    {
      code: 'JOB_ROWS_MISSING',
      severity: 'attention',
      message: `Workers did not find the rows of ${counted(count, 'job')}, and ask for them again.`,
      advice:
        'Check that workers read from the primary, not from a replica that lags. If somebody deleted the rows, these jobs fail within a minute.',
      since: Math.min(...sought.map(({ since }) => since)),
      details: { count },
    },
  ];
}

function workersLost({ now, mirror }: Facts, { batch, parts }: TemporalFacts): Finding[] {
  const suspects = mirror?.suspects ?? [];
  const recent = [batch, ...parts].flatMap(({ lostAt }) => lostAt).filter((at) => now - at < RECENT_LOSS_MS);
  if (suspects.length > 0) {
    const names = suspects.map(
      ({ position, workerClass, losses }) => `${workerClass} (job ${position}, ${losses}x)`,
    );
    return [
      {
        code: 'WORKER_LOST',
        severity: 'attention',
        message: `Workers died or hung while they ran ${names.join(', ')}.`,
        advice:
          'Look at the logs of the workers for process.exit, out of memory or a blocked event loop. These jobs run under watch; the one that kills its worker fails alone with WorkerLostError.',
        since: recent.length === 0 ? null : Math.min(...recent),
        details: { suspects, losses: recent.length },
      },
    ];
  }
  if (recent.length === 0) return [];
  return [
    {
      code: 'WORKER_LOST',
      // Once is a deployment or an eviction; what was lost runs again.
      severity: recent.length === 1 ? 'waiting' : 'attention',
      message: `A worker was lost ${counted(recent.length, 'time')} in the last ${span(now - Math.min(...recent))} while it ran chunks of this batch.`,
      advice:
        'The jobs run again and nobody is charged an attempt. If it goes on, look at the logs of the workers.',
      since: Math.max(...recent),
      details: { suspects, losses: recent.length },
    },
  ];
}

function longRunning(facts: Facts, { batch, parts }: TemporalFacts): Finding[] {
  const { now } = facts;
  // Of a batch that stands still, what runs is what it waits for, however short.
  const longMs = isMoving(facts) ? LATE.chunk : 0;
  const chunks = [batch, ...parts]
    .flatMap(({ activities }) => activities)
    .filter((activity): activity is ActivityFacts & { startedAt: number } => activity.startedAt !== undefined)
    .filter(
      ({ type, state, startedAt }) => type === 'runChunk' && state === 'started' && now - startedAt >= longMs,
    )
    .sort((a, b) => a.startedAt - b.startedAt);
  const [oldest] = chunks;
  if (!oldest) return [];
  const { startedAt, heartbeatAt, worker, summary } = oldest;
  const others = chunks.length === 1 ? '' : `, and ${counted(chunks.length - 1, 'other chunk')} for less`;
  return [
    {
      code: 'LONG_RUNNING',
      severity: 'waiting',
      message: `A worker runs ${summary ?? 'a chunk of jobs'} for ${span(now - startedAt)}${others}.`,
      advice:
        `${worker ? `Worker ${worker}` : 'It'} was heard ${span(now - (heartbeatAt ?? startedAt))} ago, so it is alive. ` +
        'Its jobs are slow, wait for something, or hang: startToCloseTimeout ends an attempt that hangs.',
      since: startedAt,
      details: {
        chunks: chunks.length,
        jobs: summary ?? null,
        worker: worker ?? null,
        heartbeatAt: heartbeatAt ?? null,
      },
    },
  ];
}

function retries({ now }: Facts, { pending, errors, movedAt }: MirrorFacts): Finding[] {
  const count = pending.reduce((sum, facts) => sum + facts.retrying, 0);
  if (count === 0) return [];
  const dueAt = earliest(pending.map(({ retryAt }) => retryAt));
  const [commonest] = errors;
  return [
    {
      code: 'WAITING_FOR_RETRY',
      severity: 'waiting',
      message: `${counted(count, 'job')} failed an attempt and ${count === 1 ? 'waits' : 'wait'} for the next; the first is due ${inTime(dueAt - now)}.`,
      advice: commonest
        ? `${errors.length > 1 ? 'Most often' : 'Error'}: ${oneLine(`${commonest.errorClass}: ${commonest.errorMessage}`)} (${commonest.count} of them)`
        : '',
      since: movedAt,
      details: { count, dueAt, errors },
    },
  ];
}

function startDelays({ now }: Facts, { pending, movedAt }: MirrorFacts): Finding[] {
  const count = pending.reduce((sum, facts) => sum + facts.delayed, 0);
  if (count === 0) return [];
  const dueAt = earliest(pending.map(({ startAt }) => startAt));
  return [
    {
      code: 'WAITING_FOR_START_DELAY',
      severity: 'waiting',
      message: `${counted(count, 'job')} ${count === 1 ? 'waits' : 'wait'} for ${count === 1 ? 'its' : 'their'} startDelay; the first starts ${inTime(dueAt - now)}.`,
      advice: '',
      since: movedAt,
      details: { count, dueAt },
    },
  ];
}

function earliest(times: readonly (number | null)[]): number {
  return Math.min(...times.filter((time) => time !== null));
}
