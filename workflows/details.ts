import { progressOf, type BatchEvent, type BatchState } from './batch-state.ts';

/**
 * What the Web UI shows as the current details of a batch: how far it is, and where to look next.
 *
 * @param limits one line; empty: none
 */
export function batchDetails(batchId: string, state: BatchState, limits = ''): string {
  const { status, total, complete, failed, cancelled, pending } = progressOf(state);
  const percent = total > 0 ? ` (${Math.floor((100 * (complete + failed)) / total)} %)` : '';
  const lines = [
    `**${status}**${percent}`,
    '',
    '| total | complete | failed | pending |',
    '| ---: | ---: | ---: | ---: |',
    `| ${[total, complete, failed, pending].map(groupDigits).join(' | ')} |`,
  ];
  if (state.enrollment.error) lines.push('', `Enrolment broke: ${state.enrollment.error}`);
  if (state.stop)
    lines.push(
      '',
      `Stopped: ${state.stop.reason}${cancelled > 0 ? `. Cancelled: ${groupDigits(cancelled)}` : ''}`,
    );
  else if (state.isPaused) lines.push('', 'Paused: nothing new starts until `resume`');
  if (limits !== '') lines.push('', `Limits: ${limits}`);
  const callbacks = Object.values(state.callbacks);
  if (callbacks.length > 0) {
    lines.push('', `Callbacks: ${callbacks.map(callbackSummary).join(', ')}`);
  }
  lines.push('', `Rows: \`select * from batch_progress where id = '${batchId}'\``);
  if (failed > 0) lines.push('', `Failed: \`select * from failed_jobs where batch_id = '${batchId}'\``);
  return lines.join('\n');
}

/** How the Web UI names a callback; tools find its row by it. */
export function callbackSummary({ callback, event }: { callback: string; event: BatchEvent }): string {
  return `${callback} on ${event}`;
}

/** `1234567` as `1,234,567`. Not toLocaleString: workflow code must not depend on the worker's locale data. */
export function groupDigits(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}
