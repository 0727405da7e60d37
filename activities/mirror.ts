import { deleteBatch, insertBatch, markFinished, markSealed } from '../src/database/batches.ts';
import { insertCallback, markCallbackFailure } from '../src/database/callbacks.ts';
import type { MirrorActivities } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';

/** Short writes of the mirror. Idempotent: Temporal may run each more than once. */
export function createMirrorActivities({
  database,
}: Pick<ActivityDependencies, 'database'>): MirrorActivities {
  return {
    createBatch: async (input) => ({ created: await insertBatch(database, input) }),
    sealBatch: (input) => markSealed(database, input),
    discardBatch: ({ batchId }) => deleteBatch(database, batchId),
    registerCallback: (input) => insertCallback(database, input),
    finishBatch: (input) => markFinished(database, input),
    failCallback: ({ errorClass, errorMessage, ...key }) =>
      markCallbackFailure(database, key, { errorClass, errorMessage, final: true }),
  };
}
