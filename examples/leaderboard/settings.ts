/** What the demo tells its worker process, through the environment. */
export interface WorkerSettings {
  readonly databaseUrl: string;
  readonly namespace: string;
  /** Schema that holds the tables of the library and of the demo. */
  readonly schema: string;
  readonly taskQueue: string;
  readonly temporalAddress: string;
}

const VARIABLES: Readonly<Record<keyof WorkerSettings, string>> = {
  databaseUrl: 'DATABASE_URL',
  namespace: 'TEMPORAL_NAMESPACE',
  schema: 'LEADERBOARD_SCHEMA',
  taskQueue: 'LEADERBOARD_TASK_QUEUE',
  temporalAddress: 'TEMPORAL_ADDRESS',
};

export function toEnvironment(settings: WorkerSettings): Record<string, string> {
  return Object.fromEntries(
    Object.entries(VARIABLES).map(([key, variable]) => [variable, settings[key as keyof WorkerSettings]]),
  );
}

/** @throws {Error} when a variable is missing */
export function fromEnvironment(env: NodeJS.ProcessEnv): WorkerSettings {
  const read = (variable: string) => {
    const value = env[variable];
    if (!value) throw new Error(`${variable} is not set. The demo sets it for the workers that it starts.`);
    return value;
  };
  return {
    databaseUrl: read(VARIABLES.databaseUrl),
    namespace: read(VARIABLES.namespace),
    schema: read(VARIABLES.schema),
    taskQueue: read(VARIABLES.taskQueue),
    temporalAddress: read(VARIABLES.temporalAddress),
  };
}
