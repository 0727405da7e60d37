import { access, chmod, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { Client as PostgresClient } from 'pg';
import { expect, onTestFinished, test, vi } from 'vitest';
import {
  DevServerError,
  startDevServers,
  startPostgres,
  startTemporal,
  type DevServers,
} from '../../src/dev/index.ts';

// Without the variables by which somebody may point the other tests at servers of their own.
const {
  DATABASE_URL: _database,
  TEMPORAL_ADDRESS: _temporal,
  TEMPORAL_NAMESPACE: _namespace,
  ...env
} = process.env;

async function createDataDir(): Promise<string> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'dev-servers-test-'));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
  // Where the tests run as root, another user runs Postgres and has to pass through.
  await chmod(dataDir, 0o755);
  return dataDir;
}

async function setup(): Promise<{ servers: DevServers; dataDir: string }> {
  const dataDir = await createDataDir();
  const servers = await startDevServers({ dataDir, env });
  onTestFinished(() => servers.stop());
  return { servers, dataDir };
}

async function query(databaseUrl: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new PostgresClient({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function withTemporal<T>(servers: DevServers, use: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address: servers.temporalAddress });
  try {
    return await use(new Client({ connection, namespace: servers.namespace }));
  } finally {
    await connection.close();
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('serves Postgres, Temporal and its Web UI on the loopback address only', async () => {
  const { servers } = await setup();

  expect(await query(servers.databaseUrl, 'select current_database() as name')).toEqual([
    { name: 'batch_jobs' },
  ]);
  expect(await query(servers.databaseUrl, 'show listen_addresses')).toEqual([
    { listen_addresses: '127.0.0.1' },
  ]);
  const workflows = await withTemporal(servers, (client) => client.workflow.count());
  expect(workflows.count).toBe(0);
  expect(servers.temporalAddress).toMatch(/^127\.0\.0\.1:\d+$/);
  const page = await fetch(servers.webUiUrl!);
  expect(page.status).toBe(200);
});

test('keeps rows and workflows, addresses included, when both servers are killed and restarted', async () => {
  const { servers } = await setup();
  const { databaseUrl, temporalAddress } = servers;
  // A checkpoint writes out what synchronous_commit=off may still hold back.
  await query(databaseUrl, 'create table kept as select 42 as answer');
  await query(databaseUrl, 'checkpoint');
  await withTemporal(servers, (client) =>
    client.workflow.start('neverRun', { workflowId: 'kept', taskQueue: 'nobody-polls' }),
  );

  await Promise.all([servers.postgres.kill('SIGKILL'), servers.temporal.kill('SIGKILL')]);
  expect([servers.postgres.pid, servers.temporal.pid]).toEqual([undefined, undefined]);
  await expect(query(databaseUrl, 'select 1')).rejects.toThrow('ECONNREFUSED');
  await Promise.all([servers.postgres.restart(), servers.temporal.restart()]);

  expect(servers).toMatchObject({ databaseUrl, temporalAddress });
  expect(await query(databaseUrl, 'select answer from kept')).toEqual([{ answer: 42 }]);
  const description = await withTemporal(servers, (client) => client.workflow.getHandle('kept').describe());
  expect(description.status.name).toBe('RUNNING');
});

test('reuses the data folder of an earlier pair of servers', async () => {
  const { servers, dataDir } = await setup();
  await query(servers.databaseUrl, 'create table kept (answer int)');
  await servers.stop();

  const later = await startDevServers({ dataDir, env });
  onTestFinished(() => later.stop());

  expect(await query(later.databaseUrl, 'select * from kept')).toEqual([]);
});

test('leaves no process and no temporary folder behind when stopped twice', async () => {
  const postgres = await startPostgres({ env });
  const [{ data_directory: dataDir } = {}] = await query(postgres.databaseUrl, 'show data_directory');
  const pid = postgres.pid!;
  expect(isRunning(pid)).toBe(true);

  await Promise.all([postgres.stop(), postgres.stop()]);

  expect(isRunning(pid)).toBe(false);
  await expect(access(path.dirname(String(dataDir)))).rejects.toThrow('ENOENT');
  await expect(postgres.restart()).rejects.toThrow(DevServerError);
});

test('stops Postgres when Temporal cannot be started', async () => {
  const dataDir = await createDataDir();

  const starting = startDevServers({ dataDir, env: { ...env, TEMPORAL_CLI_PATH: '/nowhere/temporal' } });

  await expect(starting).rejects.toMatchObject({
    code: 'DEV_SERVER',
    message: expect.stringContaining('/nowhere/temporal'),
  });
  expect(await readdir(path.join(dataDir, 'postgres'))).not.toContain('postmaster.pid');
});

test('tells what a server said when it exits while starting', async () => {
  const postgres = await startPostgres({ env });
  onTestFinished(() => postgres.stop());
  const port = Number(new URL(postgres.databaseUrl).port);

  await expect(startPostgres({ env, port })).rejects.toThrow(/Postgres exited.*could not bind/s);
  await expect(startTemporal({ env, port })).rejects.toThrow(/Temporal exited.*address already in use/s);
});

test('uses the servers that the environment names, and neither starts nor stops them', async () => {
  const log = vi.fn<(line: string) => void>();
  const servers = await startDevServers({
    log,
    env: {
      ...env,
      DATABASE_URL: 'postgres://somebody@db.example/app',
      TEMPORAL_ADDRESS: 'temporal.example:7233',
    },
  });

  expect(servers).toMatchObject({
    databaseUrl: 'postgres://somebody@db.example/app',
    temporalAddress: 'temporal.example:7233',
    namespace: 'default',
    webUiUrl: undefined,
  });
  expect([servers.postgres.pid, servers.temporal.pid]).toEqual([undefined, undefined]);
  await expect(servers.postgres.kill()).rejects.toThrow('DATABASE_URL');
  await expect(servers.temporal.restart()).rejects.toThrow('TEMPORAL_ADDRESS');
  await servers.stop();
});
