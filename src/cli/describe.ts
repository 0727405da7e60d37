import type { BatchOverview, CallbackOverview } from '../database/overview.ts';
import { counted, digits, oneLine, quote, span } from '../doctor/words.ts';

/** `running`, or `paused` for one that somebody paused: it runs and starts nothing. */
export function statusWord({ status, pausedAt, settledAt }: BatchOverview): string {
  return pausedAt !== null && settledAt === null ? 'paused' : status;
}

/** `1,101 of 1,247 complete, 3 failed, 143 pending`. */
export function describeCounts({ total, complete, failed, cancelled, pending }: BatchOverview): string {
  const parts = [
    `${digits(complete)} of ${digits(total)} complete`,
    ...(failed > 0 ? [`${digits(failed)} failed`] : []),
    ...(cancelled > 0 ? [`${digits(cancelled)} cancelled`] : []),
    ...(pending > 0 ? [`${digits(pending)} pending`] : []),
  ];
  return parts.join(', ');
}

/** `import-2026-11-23 "Import of 23 November"`. */
export function named({ id, description }: Pick<BatchOverview, 'id' | 'description'>): string {
  return `${id} ${quote(oneLine(description, 80))}`;
}

/** How a batch ended, in a line. */
export function describeOutcome(overview: BatchOverview): string {
  const { status, stopReason, createdAt, settledAt, callbacks } = overview;
  const took = settledAt === null ? '' : ` after ${span(settledAt.getTime() - createdAt.getTime())}`;
  const why = stopReason === null ? '' : ` (${oneLine(stopReason)})`;
  const broken = Object.entries(callbacks ?? {})
    .filter(([, { status: state }]) => state === 'failed')
    .map(([event, callback]) => `\nCallback ${describeCallback(event, callback)}`);
  return `Batch ${named(overview)} is ${status}${why}${took}: ${describeCounts(overview)}.${broken.join('')}`;
}

/** `OnComplete on complete: failed after 2 attempts: BrokenError: never works`. */
export function describeCallback(event: string, callback: CallbackOverview): string {
  const { status, attempts, errorClass, errorMessage } = callback;
  const tries = attempts > 1 || status === 'failed' ? ` after ${counted(attempts, 'attempt')}` : '';
  const error = errorClass === undefined ? '' : `: ${errorClass}: ${oneLine(errorMessage ?? '')}`;
  return `${callback.callback} on ${event}: ${status}${tries}${error}`;
}

/** What a person may want to do next, if anything. */
export function nextStep(overview: BatchOverview): string | undefined {
  const { id, failed, settledAt, pausedAt, idleSeconds } = overview;
  if (settledAt === null && pausedAt === null && (idleSeconds ?? 0) >= 60)
    return `batch-jobs doctor ${id}   says why it does not move.`;
  if (settledAt === null && pausedAt !== null) return `batch-jobs resume ${id}   lets it go on.`;
  return failed > 0 ? `batch-jobs failed ${id}   says why jobs failed.` : undefined;
}

/** `20.4/s`, `1,234/s`. */
export function perSecond(rate: number): string {
  return `${rate.toLocaleString('en-US', { maximumFractionDigits: rate < 100 ? 1 : 0 })}/s`;
}

export function seconds(count: number): string {
  return span(count * 1_000);
}

/** `2026-11-23 11:56:00Z`. */
export function timestamp(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')}Z`;
}

export function since(time: Date, now: Date): string {
  return `${span(Math.max(0, now.getTime() - time.getTime()))} ago`;
}
