export { startDevServers, type DevServers } from './dev-servers.ts';
export { DevServerError } from './errors.ts';
export type { DevServerBaseOptions, DevServersOptions } from './options.ts';
export { startPostgres, type PostgresOptions, type PostgresServer } from './postgres.ts';
export type { ServerHandle } from './server-handle.ts';
export { startTemporal, type TemporalOptions, type TemporalServer } from './temporal.ts';
