/** For `startPostgres` and `startTemporal`: servers that the environment names are not ours to kill. */
export const OWN_SERVERS: NodeJS.ProcessEnv = { ...process.env, DATABASE_URL: '', TEMPORAL_ADDRESS: '' };
