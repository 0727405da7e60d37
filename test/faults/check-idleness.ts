import type { Findings } from './findings.ts';
import type { JobEntry } from './ledger.ts';

/** A batch in which no job starts for so long, though jobs are ready and slots are free, waits without a reason. */
const LONGEST_MS = 5_000;
/** A job is ready so long after its row was written: until then its batch may not have heard of it. */
const HEARD_MS = 2_000;
/** What was done to a round may delay its batches for so long after it: lost heartbeats, pauses before retries. */
const AFTER_EFFECT_MS = 45_000;

/** In the first round of a batch without limits, at times when nothing was done to it. */
export function checkIdleness(found: Findings): void {
  const { evidence, batch } = found;
  const { disturbances, slots } = evidence;
  const { limits, jobLimits, jobs: expected, shared } = batch.expected;
  const isLimited = [limits, ...Object.values(jobLimits)].some((limit) =>
    Object.values(limit).some((value) => value !== null),
  );
  if (disturbances === null || isLimited || shared !== null) return;
  const starts = firstStarts(found);
  const waits = batch.jobs.flatMap(({ name, position, createdAt, workflow }) => {
    const startedAt = starts.get(position);
    const isReady = workflow === null && expected[name]?.startDelayMs === 0;
    return startedAt === undefined || !isReady ? [] : [{ readyAt: createdAt + HEARD_MS, startedAt }];
  });
  const times = [...starts.values()].sort((a, b) => a - b);
  // By start, latest first: what was ready before a gap is what has started after it.
  const late = waits.toSorted((a, b) => b.startedAt - a.startedAt);
  let readyAt = Infinity;
  let next = 0;
  for (let index = times.length - 1; index > 0; index--) {
    const [before, after] = [times[index - 1]!, times[index]!];
    while (next < late.length && late[next]!.startedAt >= after)
      readyAt = Math.min(readyAt, late[next++]!.readyAt);
    const from = Math.max(before, readyAt);
    if (after - from <= LONGEST_MS) continue;
    const isDisturbed = disturbances.some((one) => one.from < after && from < one.to + AFTER_EFFECT_MS);
    if (isDisturbed || mostRunning(found, from, after) >= slots) continue;
    const seconds = ((after - from) / 1_000).toFixed(1);
    found.add(
      'stuck',
      `no job started for ${seconds} s, until ${new Date(after).toISOString()}, though some were ready and slots free`,
    );
  }
}

/** When each job started for the first time, in the first round. */
function firstStarts({ told, batch }: Findings): Map<number, number> {
  const end = batch.rounds[1]?.startedAt ?? Infinity;
  const starts = new Map<number, number>();
  for (const { position, at } of told.starts) {
    if (at < end) starts.set(position, Math.min(at, starts.get(position) ?? Infinity));
  }
  return starts;
}

/** Jobs of all batches that ran at the same time in this window, at most. Those whose process died run for ever. */
function mostRunning({ evidence }: Findings, from: number, to: number): number {
  let running = 0;
  let most = 0;
  for (const entry of evidence.ledger) {
    if (!isJobEntry(entry) || entry.at >= to) continue;
    if (entry.at >= from) most = Math.max(most, running);
    running += entry.what === 'job-start' ? 1 : -1;
  }
  return Math.max(most, running);
}

function isJobEntry(entry: { readonly what: string }): entry is JobEntry {
  return entry.what.startsWith('job-');
}
