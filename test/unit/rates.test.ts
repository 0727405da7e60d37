import { expect, test } from 'vitest';
import { Pacer } from '../../activities/pacer.ts';
import { Shares, type Asker } from '../../workflows/limits.ts';
import { mostIn } from '../support/concurrency.ts';
import { forSeeds } from '../support/random.ts';

const ASKER: Asker = { range: '1', lane: '', name: null };

interface RunningChunk {
  readonly chunk: number;
  readonly pacer: Pacer;
  left: number;
  hasStarted: boolean;
}

test('chunks after and beside one another start no more jobs in any second than the rate', async () => {
  const used: number[] = [];
  await forSeeds(150, (random) => {
    const perSecond = random.pick([1, 2, 3, 7, 8, 20, 2.5]);
    const limits = { perSecond, jobLimits: {} };
    const shares = new Shares(-Infinity);
    const chunks: RunningChunk[] = [];
    const starts: number[] = [];
    let now = 0;
    for (let next = 1; starts.length < 400;) {
      const share = shares.take(limits, ASKER, next, now);
      if (share) {
        const notBefore = now + random.int(0, 100) + share.waitMs!;
        const left = Math.ceil(share.perSecond! * random.int(1, 12));
        chunks.push({
          chunk: next++,
          pacer: new Pacer(share.perSecond!, notBefore),
          left,
          hasStarted: false,
        });
        continue;
      }
      const first = chunks.toSorted((a, b) => a.pacer.dueAt - b.pacer.dueAt)[0]!;
      now = Math.max(now, first.pacer.dueAt) + random.next() * random.pick([0, 1, 20]);
      const isStopped = random.chance(0.02);
      if (!isStopped) {
        starts.push(now);
        first.pacer.started(now);
        first.hasStarted = true;
        first.left--;
      }
      if (first.left > 0 && !isStopped) continue;
      if (random.chance(0.5)) shares.reduce(ASKER, first.chunk, 1, now);
      shares.release(ASKER, first.chunk, first.hasStarted, now);
      chunks.splice(chunks.indexOf(first), 1);
    }
    expect(mostIn(starts, 1_000 - 1e-6)).toBeLessThanOrEqual(Math.ceil(perSecond));
    used.push(starts.length / (now / 1_000) / perSecond);
  });
  // Chunks of a second or two waste much; those of ten seconds do not, as the tests with servers measure.
  expect(Math.min(...used)).toBeGreaterThan(0.3);
});
