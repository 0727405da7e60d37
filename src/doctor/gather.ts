import type { Database } from '../database/connect.ts';
import { selectNames } from '../database/chunks.ts';
import { reasonIn } from '../database/database-errors.ts';
import { isTransient } from '../database/retry.ts';
import { DatabaseUnavailableError } from '../errors.ts';
import { countOf } from '../../workflows/spans.ts';
import type { Facts, TemporalFacts, UnknownFacts } from './facts.ts';
import { readMirror } from './mirror-facts.ts';
import type { TemporalReader, UnknownSpans } from './temporal-facts.ts';

/** Where facts come from; the message in place of a server that does not answer. */
export interface Sources {
  readonly database: Database;
  readonly temporal: TemporalReader | { readonly error: string };
  readonly idleMs: number;
}

/** Finds out what there is to know about a batch. Changes nothing; a server that is away is a fact, too. */
export async function gather(sources: Sources, batchId: string): Promise<Facts> {
  // The rows first: what Temporal says afterwards is at least as new, so that it cannot seem to be behind.
  const mirror = await attempt(() => readMirror(sources.database, batchId), isTransient);
  const temporal = await readTemporal(sources, batchId);
  return {
    batchId,
    now: mirror.value?.now ?? Date.now(),
    idleMs: sources.idleMs,
    ...(mirror.value?.mirror === undefined ? {} : { mirror: mirror.value.mirror }),
    ...(mirror.error === undefined ? {} : { databaseError: mirror.error }),
    ...(temporal.value === undefined ? {} : { temporal: temporal.value }),
    ...(temporal.error === undefined ? {} : { temporalError: temporal.error }),
  };
}

async function readTemporal(
  { database, temporal }: Sources,
  batchId: string,
): Promise<Answer<TemporalFacts>> {
  if ('error' in temporal) return temporal;
  const { value, error } = await attempt(
    () => temporal.read(batchId),
    () => true,
  );
  if (value === undefined) return { error: error ?? 'no answer' };
  const unknown = await attempt(() => namesOf(database, batchId, value.unknown), isTransient);
  return { value: { ...value.facts, unknown: unknown.value ?? [] } };
}

async function namesOf(
  database: Database,
  batchId: string,
  unknown: readonly UnknownSpans[],
): Promise<UnknownFacts[]> {
  const facts: UnknownFacts[] = [];
  for (const { since, spans, isMissing } of unknown) {
    if (isMissing) {
      facts.push({ workerClass: null, count: countOf(spans), since });
      continue;
    }
    const names = await selectNames(database, batchId, spans);
    facts.push(...names.map((name) => ({ ...name, since })));
  }
  return facts;
}

interface Answer<T> {
  readonly value?: T;
  readonly error?: string;
}

async function attempt<T>(read: () => Promise<T>, isFact: (error: unknown) => boolean): Promise<Answer<T>> {
  try {
    return { value: await read() };
  } catch (error) {
    if (!isFact(error)) throw error;
    return { error: reasonOf(error) };
  }
}

/** The message of the innermost error: the outer ones say that a call failed, and the inner ones why. */
export function reasonOf(error: unknown): string {
  if (error instanceof DatabaseUnavailableError) return reasonIn(error);
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.map(reasonOf).join('; ');
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? reasonOf(error.cause) : error.message;
}
