import type { Command } from 'commander';
import { assertBatchId } from '../../client/batch-options.ts';
import { whatItWaitsFor, type WaitingBatch } from '../../client/why-waiting.ts';
import type { BatchOverview } from '../../database/overview.ts';
import { WaitTimedOutError } from '../../errors.ts';
import { resolveDuration } from '../../options.ts';
import type { WaitFlags } from '../commands/wait.ts';
import { withDatabase } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { followBatch, isOver } from '../follow.ts';
import { overviewJson, reportOutcome } from './status.ts';

/** Waits until a batch is over, and prints how it ended. */
export async function runWait(
  context: CliContext,
  id: string,
  flags: WaitFlags,
  command: Command,
): Promise<void> {
  assertBatchId(id);
  const timeoutMs = resolveDuration('timeout', flags.timeout);
  await withDatabase(context, flags, command, async (database) => {
    const deadline = performance.now() + timeoutMs;
    for await (const overview of followBatch(database, id, Math.min(1_000, timeoutMs))) {
      if (isOver(overview)) {
        if (flags.json) context.stdout.write(`${JSON.stringify(overviewJson(overview))}\n`);
        return reportOutcome(context, flags, overview);
      }
      if (performance.now() >= deadline) {
        throw new WaitTimedOutError(
          'WAIT_TIMED_OUT',
          `Batch "${id}" has not ended after ${timeoutMs / 1_000} s: ${await whatItWaitsFor(database, waitingOf(overview))}. ` +
            `It goes on; \`batch-jobs doctor ${id}\` says what to do.`,
        );
      }
    }
  });
}

function waitingOf({ sealedAt, ...overview }: BatchOverview): WaitingBatch {
  return { ...overview, isSealed: sealedAt !== null };
}
