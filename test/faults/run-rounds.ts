import { noCasualties } from './injector.ts';
import { planRound, type FaultKind } from './plan.ts';
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
  readonly onResult: (result: RoundResult) => void;
  /** Servers as they start; who handles signals stops them. */
  readonly arenas: Set<Arena>;
}

/** Plays rounds, several at once. */
export async function runRounds(options: RunOptions): Promise<RoundResult[]> {
  const { firstSeed, rounds, parallel, onResult } = options;
  const results: RoundResult[] = [];
  let next = 0;
  const slots = Array.from({ length: Math.min(parallel, rounds) }, async () => {
    let arena: Arena | undefined;
    while (next < rounds) {
      const seed = firstSeed + next++;
      arena ??= await open(options);
      const result = await play(arena, seed, options.kinds);
      results.push(result);
      onResult(result);
      // What went wrong there may go on: the next round gets servers that nobody has seen.
      if (result.violations.length > 0) {
        await close(arena, options);
        arena = undefined;
      }
    }
    if (arena) await close(arena, options);
  });
  await Promise.all(slots);
  return results.toSorted((a, b) => a.seed - b.seed);
}

async function open({ arenas, workflowBundlePath }: RunOptions): Promise<Arena> {
  const arena = await openArena(workflowBundlePath);
  arenas.add(arena);
  return arena;
}

async function close(arena: Arena, { arenas }: RunOptions): Promise<void> {
  arenas.delete(arena);
  await arena[Symbol.asyncDispose]();
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
      jobs: 0,
      casualties: noCasualties(),
      violations: [{ kind: 'stuck', batch: null, message }],
      seconds: 0,
      folder: roundFolder(seed),
    };
  }
}
