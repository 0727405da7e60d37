import type { ActivityInterceptorsFactory } from '@temporalio/worker';

/** Names the batch in every line that an activity logs, also in those of the SDK itself. */
export const logAttributes: ActivityInterceptorsFactory = () => {
  let fields: Record<string, unknown> = {};
  return {
    inbound: {
      execute: (input, next) => {
        fields = fieldsOf(input.args[0]);
        return next(input);
      },
    },
    outbound: { getLogAttributes: (attributes, next) => next({ ...attributes, ...fields }) },
  };
};

/** Those of our activities that work for a batch get its id, and what it is about, in an object. */
function fieldsOf(input: unknown): Record<string, unknown> {
  const { batchId, round, event, callback } = (input ?? {}) as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries({ batchId, round, event, callback }).filter(([, value]) => value !== undefined),
  );
}
