import { MEMBER_BATCH } from '../jobs/member-batch.ts';
import type { Facts, LimitFacts, MirrorFacts, NamedLimitFacts, PendingFacts } from './facts.ts';
import type { Finding } from './findings.ts';
import { counted, digits, shellWord, span } from './words.ts';

/** What the counts of the last minute are about. */
const WINDOW_SECONDS = 60;
/** A rate of which at least so much was used is what holds the jobs back, and not that they are slow. */
const USED_PART = 0.5;

/** A limit that holds jobs back: of the batch, or of those of a name. */
interface Held {
  readonly name: string | null;
  readonly limit: 'maxConcurrentJobs' | 'perSecond';
  readonly value: number;
  /** Jobs that may start as far as they themselves go, those that run included. */
  readonly due: number;
}

/**
 * Limits that are why jobs wait. How many run is in no row: that as many run as may is taken from there being more to
 * run, so that this is said of batches only that have workers and are not held up by something else.
 */
export function limitFindings(facts: Facts): Finding[] {
  return [...ownLimitFindings(facts), ...(facts.mirror?.namedLimits ?? []).flatMap(namedLimitFindings)];
}

/** Named limits. Workers record in the database how many jobs run under each. */
function namedLimitFindings(limit: NamedLimitFacts): Finding[] {
  const { name, due, maxConcurrent, perSecond, keyMaxConcurrent, running, waiting } = limit;
  const isShut = maxConcurrent === 0 || perSecond === 0 || keyMaxConcurrent === 0;
  // The database knows only waiting jobs that a worker holds.
  if (!isShut && waiting === 0) return [];
  const parts = [
    ...(maxConcurrent === null ? [] : [`${digits(maxConcurrent)} at once`]),
    ...(perSecond === null ? [] : [`${digits(perSecond)} a second`]),
    ...(keyMaxConcurrent === null ? [] : [`${digits(keyMaxConcurrent)} at once for each key`]),
  ].join(', ');
  const message = isShut
    ? `The limit "${name}" lets nothing start (${parts}): ${counted(due, 'job')} of this batch wait.`
    : `The limit "${name}", shared by all batches, holds it back (${parts}): ${counted(running, 'job')} run under it, and ${digits(waiting)} wait in workers.`;
  const flags = [
    ...(maxConcurrent === null ? [] : [`--max-concurrent ${Math.max(1, maxConcurrent * 2)}`]),
    ...(perSecond === null ? [] : [`--per-second ${perSecond === 0 ? 1 : perSecond * 2}`]),
    ...(keyMaxConcurrent === null ? [] : [`--max-concurrent-per-key ${Math.max(1, keyMaxConcurrent * 2)}`]),
  ];
  return [
    {
      code: 'WAITING_FOR_LIMIT',
      severity: 'waiting',
      message,
      advice: `\`batch-jobs limits ${shellWord(name)} ${flags.join(' ')}\` changes it for all batches.`,
      since: null,
      details: { ...limit },
    },
  ];
}

function ownLimitFindings({ batchId, mirror, now }: Facts): Finding[] {
  if (!mirror?.limits) return [];
  const { jobLimits = {}, ...ofBatch } = mirror.limits;
  const held = [
    ...heldBy(mirror, null, ofBatch, now),
    ...Object.entries(jobLimits).flatMap(([name, limit]) => heldBy(mirror, name, limit, now)),
  ];
  if (held.length === 0) return [];
  return [
    {
      code: 'WAITING_FOR_LIMIT',
      severity: 'waiting',
      message: `Its limits hold it back: ${held.map(describe).join('; ')}.`,
      advice:
        `\`batch-jobs update ${batchId} ${held.map(doubled).join(' ')}\` doubles what it may, as far as its ` +
        'workers have slots; `none` in place of a number takes a limit away.',
      since: null,
      details: { limits: held },
    },
  ];
}

function heldBy(
  mirror: MirrorFacts,
  name: string | null,
  { maxConcurrentJobs, perSecond }: LimitFacts,
  now: number,
): Held[] {
  const pending = mirror.pending.filter(
    (facts) => isRun(facts) && (name ?? facts.workerClass) === facts.workerClass,
  );
  const workflows = name === null ? mirror.workflows.pending : 0;
  const due = sum(pending.map(({ count, retrying, delayed }) => count - retrying - delayed)) - workflows;
  if (due <= 0) return [];
  if (perSecond !== undefined) {
    const seconds = Math.min(WINDOW_SECONDS, (now - mirror.batch.createdAt.getTime()) / 1_000);
    const ended = name === null ? mirror.endedLately : (mirror.endedByName[name] ?? 0);
    // An attempt that failed was started, too.
    const started = ended + sum(pending.map(({ retrying }) => retrying));
    if (due > perSecond && started >= Math.floor(perSecond * seconds * USED_PART))
      return [{ name, limit: 'perSecond', value: perSecond, due }];
  }
  if (maxConcurrentJobs !== undefined && due > maxConcurrentJobs)
    return [{ name, limit: 'maxConcurrentJobs', value: maxConcurrentJobs, due }];
  return [];
}

/** Batches that are jobs run nothing. */
function isRun({ workerClass }: PendingFacts): boolean {
  return workerClass !== MEMBER_BATCH.name;
}

function describe({ name, limit, value, due }: Held): string {
  const of = name === null ? '' : `${name} `;
  return limit === 'perSecond'
    ? `${of}${value} a second, and ${counted(due, 'job')} take ${span((due / value) * 1_000)} at that rate`
    : `${of}${digits(value)} at once, and ${digits(due - value)} of ${counted(due, 'job')} wait for their turn`;
}

/** How the command line gives the limit, twice as high. */
function doubled({ name, limit, value }: Held): string {
  if (name !== null) return `--job-limit ${shellWord(`${name}.${limit}=${value * 2}`)}`;
  return `${limit === 'perSecond' ? '--per-second' : '--max-concurrent-jobs'} ${value * 2}`;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
