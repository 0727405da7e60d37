import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import getPort from 'get-port';
import { Redis } from 'ioredis';
import { findOnPath } from '../../src/dev/executables.ts';
import { LocalServer, type ServerHandle } from '../../src/dev/server-handle.ts';
import { ServerProcess } from '../../src/dev/server-process.ts';

const HOST = '127.0.0.1';

export interface RedisServer {
  readonly server: ServerHandle;
  readonly connection: { readonly host: string; readonly port: number };
}

/** Starts a Redis that writes nothing to disk; `undefined` where there is no `redis-server`. */
export async function startRedis(): Promise<RedisServer | undefined> {
  const file = await findOnPath('redis-server', process.env);
  if (file === undefined) return undefined;
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-redis-'));
  const connection = { host: HOST, port: await getPort({ host: HOST }) };
  const redis = new ServerProcess({
    name: 'Redis',
    file,
    args: redisArguments(connection.port, folder),
    env: process.env,
    stopSignal: 'SIGTERM',
    probe: () => ping(connection),
  });
  const cleanUp = () => rm(folder, { recursive: true, force: true });
  try {
    await redis.start();
  } catch (error) {
    await cleanUp();
    throw error;
  }
  return { server: new LocalServer(`${HOST}:${connection.port}`, redis, cleanUp), connection };
}

async function ping(connection: RedisServer['connection']): Promise<void> {
  const client = new Redis({ ...connection, lazyConnect: true, retryStrategy: () => null });
  // A refused connection rejects connect() and is told here as well; unheard, it would be printed.
  client.on('error', () => {});
  try {
    await client.connect();
    await client.ping();
  } finally {
    client.disconnect();
  }
}

function redisArguments(port: number, folder: string): string[] {
  return ['--bind', HOST, '--port', String(port), '--dir', folder, '--save', '', '--appendonly', 'no'];
}
