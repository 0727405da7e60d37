const integration = (names: readonly string[]) => names.map((name) => `test/integration/${name}.test.ts`);

/**
 * Files that load the machine, measure how long something takes, or need a Temporal runtime of their own: what is logged
 * goes to that of the process.
 */
export const LOAD = integration([
  'failed-attempts',
  'limits',
  'observability',
  'priority',
  'races',
  'rates',
  'results',
  'shared-task-queue',
]);

/**
 * Files that the slow set runs once more: with the true waits, because their promises are about time, and with all
 * rounds of their races.
 */
export const IN_FULL = integration([
  'continue-as-new',
  'crashes',
  'creation-by-key',
  'duplicates',
  'enqueuers',
  'execute-batch',
  'lost-tasks',
  'more-jobs',
  'nesting',
  'outages',
  'races',
  'steering',
]);
