import { playRound } from './round.ts';
import { planRound, describePlan, FAULT_KINDS } from './plan.ts';
import { openArena, bundleWorkflows } from './servers.ts';
import { tmpdir } from 'node:os';
console.time('arena');
const bundle = await bundleWorkflows(tmpdir());
const arena = await openArena(bundle);
console.timeEnd('arena');
try {
  for (let s = Number(process.argv[2]); s <= Number(process.argv[3]); s++) {
    const plan = planRound(
      s,
      process.argv[4] ? (process.argv[4].split(',') as any) : process.argv[4] === '' ? [] : FAULT_KINDS,
    );
    console.log(describePlan(plan).join('\n'));
    const r = await playRound(arena, plan);
    console.log(JSON.stringify(r));
  }
} finally {
  await arena[Symbol.asyncDispose]();
}
