const integration = (names: readonly string[]) => names.map((name) => `test/integration/${name}.test.ts`);

/** Files that load the machine, or measure how long something takes. */
export const LOAD = integration(['limits', 'named-limits', 'priority', 'races', 'rates', 'results']);

/** Files that need a Temporal runtime of their own: what workers log and measure goes to that of the process. */
export const OWN_RUNTIME = integration(['failed-attempts', 'observability', 'shared-task-queue']);

/**
 * Files that the slow set runs once more: with the true waits, because their promises are about time, and with all
 * rounds of their races.
 */
export const IN_FULL = integration([
  'continue-as-new',
  'crashes',
  'creation-by-key',
  'cycles',
  'data',
  'duplicates',
  'enqueuers',
  'execute-batch',
  'lost-tasks',
  'more-jobs',
  'nesting',
  'once',
  'outages',
  'races',
  'rounds',
  'steering',
]);
