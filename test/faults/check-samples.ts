import type { Findings } from './findings.ts';

/** In the order in which a round of a batch goes through them; an outcome stays. */
const STATUSES = ['pending', 'running', 'complete', 'failed', 'cancelled'];
const OUTCOMES = STATUSES.slice(2);

/** What the mirror said while the round went on only ever moved forward. */
export function checkSamples(found: Findings): void {
  const samples = found.evidence.samples.filter(({ id }) => id === found.batch.id);
  // What handlers add may come at any time before the end.
  const mayGrow = Object.values(found.batch.expected.jobs).some(({ parent }) => parent !== null);
  for (const [index, sample] of samples.entries()) {
    const before = samples[index - 1];
    const text = JSON.stringify(sample);
    if (sample.complete + sample.failed + sample.cancelled > sample.total) {
      found.add('wrong', `counters above total: ${text}`);
    }
    if (!before) continue;
    const isSameRound = sample.round === before.round;
    const isBack =
      sample.round < before.round ||
      sample.complete < before.complete ||
      (isSameRound && sample.failed < before.failed) ||
      (isSameRound && STATUSES.indexOf(sample.status) < STATUSES.indexOf(before.status)) ||
      (isSameRound && OUTCOMES.includes(before.status) && sample.status !== before.status);
    if (isBack) found.add('wrong', `the mirror went back from ${JSON.stringify(before)} to ${text}`);
    const isChanged = mayGrow ? sample.total < before.total : sample.total !== before.total;
    if (before.status !== 'pending' && isChanged) {
      found.add('wrong', `the total changed after the seal: ${JSON.stringify(before)}, ${text}`);
    }
  }
}
