import { rm } from 'node:fs/promises';
import type { AppBundles } from './app-bundles.ts';
import { noCasualties } from './injector.ts';
import { planRound, type FaultKind } from './plan.ts';
import { killAllChildren } from './processes.ts';
import { playRound, roundFolder, type RoundResult } from './round.ts';
import { openArena, type Arena } from './servers.ts';

export interface RunOptions {
  /** Round `i` has the seed `firstSeed + i`. */
  readonly firstSeed: number;
  readonly rounds: number;
  /** Rounds at once, each with servers of its own. */
  readonly parallel: number;
  readonly kinds: readonly FaultKind[] | undefined;
  readonly workflowBundlePath: string;
  readonly appBundles: AppBundles;
  readonly onResult: (result: RoundResult) => void;
  /** What is open: who ends a run before its time closes it. */
  readonly open: OpenRounds;
}

/** Servers that run or start, and seeds of the rounds that are being played on them. */
export class OpenRounds {
  readonly arenas = new Set<Promise<Arena>>();
  readonly seeds = new Set<number>();
  isClosed = false;

  /** Ends processes and servers, lets no further round begin, and removes what unfinished rounds wrote: it shows nothing. */
  async close(): Promise<void> {
    this.isClosed = true;
    await killAllChildren();
    await Promise.allSettled([...this.arenas].map(async (arena) => (await arena)[Symbol.asyncDispose]()));
    await Promise.all([...this.seeds].map((seed) => rm(roundFolder(seed), { recursive: true, force: true })));
  }
}

/** Plays rounds, several at once. */
export async function runRounds(options: RunOptions): Promise<RoundResult[]> {
  const { firstSeed, rounds, parallel, onResult, open } = options;
  const results: RoundResult[] = [];
  let next = 0;
  const slots = Array.from({ length: Math.min(parallel, rounds) }, async () => {
    let arena: Promise<Arena> | undefined;
    while (next < rounds && !open.isClosed) {
      const seed = firstSeed + next++;
      arena ??= openArena(options.workflowBundlePath, options.appBundles);
      open.arenas.add(arena);
      open.seeds.add(seed);
      const result = await play(await arena, seed, options.kinds);
      if (open.isClosed) return;
      open.seeds.delete(seed);
      results.push(result);
      onResult(result);
      // What went wrong there may go on: the next round gets servers that nobody has seen.
      if (result.violations.length > 0) {
        await close(arena, open);
        arena = undefined;
      }
    }
    if (arena) await close(arena, open);
  });
  await Promise.all(slots);
  return results.toSorted((a, b) => a.seed - b.seed);
}

async function close(arena: Promise<Arena>, { arenas }: OpenRounds): Promise<void> {
  await (await arena)[Symbol.asyncDispose]();
  arenas.delete(arena);
}

async function play(
  arena: Arena,
  seed: number,
  kinds: readonly FaultKind[] | undefined,
): Promise<RoundResult> {
  const plan = planRound(seed, kinds);
  try {
    return await playRound(arena, plan);
  } catch (error) {
    // A server that does not come up again, for example: no verdict on the library, and no clean round either.
    const message = `the round broke off: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
    return {
      seed,
      batches: plan.batches.length,
      retries: 0,
      jobs: 0,
      workflows: 0,
      casualties: noCasualties(),
      violations: [{ kind: 'stuck', batch: null, message }],
      seconds: 0,
      folder: roundFolder(seed),
    };
  }
}
