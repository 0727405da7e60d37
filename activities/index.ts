import { markRoundOpened } from '../src/database/rounds.ts';
import { instruments } from '../src/telemetry/instruments.ts';
import { runCallback } from './callback.ts';
import { runChunk } from './chunk.ts';
import type {
  HandlerActivities,
  MaintenanceActivities,
  MirrorActivities,
  StepActivities,
} from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';
import { cancelWorkflowJobs } from './cancel-workflow-jobs.ts';
import { createMirrorActivities } from './mirror.ts';
import { runPlainJob } from './plain-job.ts';
import { prune } from './prune.ts';
import { guarded } from './schema-guard.ts';
import { cancelStep, readStep, startStep } from './step.ts';

type AllActivities = MirrorActivities & HandlerActivities & MaintenanceActivities & StepActivities;

/** All activities of the batch workflows, over what they work with. */
export function createActivities(dependencies: ActivityDependencies): AllActivities {
  return guarded<AllActivities>(dependencies, {
    ...createMirrorActivities(dependencies),
    runChunk: (input) => runChunk(dependencies, input),
    runCallback: (input) => runCallback(dependencies, input),
    runPlainJob: (input) => runPlainJob(dependencies, input),
    openRound: (input) =>
      withHeartbeat(async () => {
        const opened = await markRoundOpened(dependencies.database, input);
        if (opened) instruments()?.batchesStarted.add(1);
        return opened;
      }),
    cancelWorkflowJobs: (input) => cancelWorkflowJobs(dependencies, input),
    prune: (input) => prune(dependencies, input),
    startStep: (input) => startStep(dependencies, input),
    readStep: (input) => readStep(dependencies, input),
    cancelStep: (input) => cancelStep(dependencies, input),
  });
}

export type {
  HandlerActivities,
  MaintenanceActivities,
  MirrorActivities,
  StepActivities,
} from './contract.ts';
export { AttemptLog } from './attempt-log.ts';
export { SteeringWatch } from './steering.ts';
export { UnknownNames } from './unknown-names.ts';
export type { ActivityDependencies } from './dependencies.ts';
