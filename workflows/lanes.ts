/**
 * A lane is the jobs of a batch that are handed out together: those of one task queue, or of these only the jobs of one
 * name that has limits of its own. Its key is the queue (`''` is the batch's own), and behind a NUL the name: neither
 * can hold one, for Postgres stores none.
 */
export interface Lane {
  /** Task queue of the jobs; null: the batch's own. */
  readonly queue: string | null;
  /** Name of the jobs; null: all that have no lane of their own. */
  readonly name: string | null;
}

const SEPARATOR = '\0';

/** The batch's own task queue, without the names that have lanes of their own. */
export const OWN_LANE = '';

/** Keys of the lanes of a task queue. */
export function laneKeysOf(queue: string, names: readonly string[]): string[] {
  return [queue, ...names.map((name) => `${queue}${SEPARATOR}${name}`)];
}

export function parseLane(key: string): Lane {
  const [queue, name = null] = key.split(SEPARATOR);
  return { queue: queue || null, name };
}

/** The names that have lanes of their own, among all keys of a batch. */
export function namesOf(keys: readonly string[]): string[] {
  return keys.map(parseLane).flatMap(({ queue, name }) => (queue === null && name !== null ? [name] : []));
}

/** Whether a name from outside can be the task queue of a lane. */
export function isQueueName(name: unknown): name is string {
  return typeof name === 'string' && !name.includes(SEPARATOR);
}

/** For people. */
export function describeLane(key: string): string {
  const { queue, name } = parseLane(key);
  return `${name === null ? '' : ` named ${name}`}${queue === null ? '' : ` on ${queue}`}`;
}
