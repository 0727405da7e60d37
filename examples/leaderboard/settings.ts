/** What the demo tells its worker process, through the environment. */
export interface WorkerSettings {
  readonly databaseUrl: string;
  readonly namespace: string;
  /** Schema that holds the tables of the library and of the demo. */
  readonly schema: string;
  readonly taskQueue: string;
  readonly temporalAddress: string;
}

export function toEnvironment(settings: WorkerSettings): Record<string, string> {
  return {
    DATABASE_URL: settings.databaseUrl,
    LEADERBOARD_SCHEMA: settings.schema,
    LEADERBOARD_TASK_QUEUE: settings.taskQueue,
    TEMPORAL_ADDRESS: settings.temporalAddress,
    TEMPORAL_NAMESPACE: settings.namespace,
  };
}

/** @throws {Error} when a variable is missing */
export function fromEnvironment(env: NodeJS.ProcessEnv): WorkerSettings {
  const read = (variable: string) => {
    const value = env[variable];
    if (!value) throw new Error(`${variable} is not set. The demo sets it for the workers that it starts.`);
    return value;
  };
  return {
    databaseUrl: read('DATABASE_URL'),
    namespace: read('TEMPORAL_NAMESPACE'),
    schema: read('LEADERBOARD_SCHEMA'),
    taskQueue: read('LEADERBOARD_TASK_QUEUE'),
    temporalAddress: read('TEMPORAL_ADDRESS'),
  };
}
