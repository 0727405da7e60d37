import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Connection, isGrpcServiceError } from '@temporalio/client';
import { execa } from 'execa';
import getPort, { portNumbers } from 'get-port';
import { ServerProcess } from '../../src/dev/server-process.ts';
import { temporalCacheDir } from '../../src/dev/temporal-binary.ts';
import { DEFAULT_DYNAMIC_CONFIG, probeTemporal, type TemporalOptions } from '../../src/dev/temporal.ts';

const MODULE = 'go.temporal.io/server';
const VERSION = 'v1.31.2';
const HOST = '127.0.0.1';
const NAMESPACE = 'default';
/** Name of its configuration. */
const ENVIRONMENT = 'library';
/** Databases, by the name of their schema's folder. */
const STORES = { temporal: 'temporal', visibility: 'temporal_visibility' } as const;
const SERVICES = ['frontend', 'history', 'matching', 'worker'] as const;
/** By default the server would take 512, far more than one machine has a use for. */
const HISTORY_SHARDS = 4;
const DAY_S = 86_400;
/** The server keeps its ports in columns of the type smallint. */
const PORTS = [20_000, 32_000] as const;
/** gRPC status code. */
const ALREADY_EXISTS: readonly number[] = [6];

export interface ProductionOptions extends Pick<TemporalOptions, 'dynamicConfig'> {
  /** Of the server's own metrics. */
  readonly metricsPort?: number | undefined;
}

export interface ProductionServer {
  readonly address: string;
  stop(): Promise<void>;
}

/**
 * Starts the server that is run in production, with its state in databases of its own beside the library's tables: what
 * a batch writes there competes with the rows, as it would where both share a Postgres.
 */
export async function startProductionServer(
  databaseUrl: string,
  { metricsPort, dynamicConfig = {} }: ProductionOptions = {},
): Promise<ProductionServer> {
  const programs = await findPrograms();
  const url = new URL(databaseUrl);
  await createSchemas(programs.sql, url);
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-production-'));
  const frontendPort = await writeConfig(folder, url, { metricsPort, dynamicConfig });
  const address = `${HOST}:${frontendPort}`;
  const server = new ServerProcess({
    name: 'Temporal',
    file: programs.server,
    args: ['--root', folder, '--config', '.', '--env', ENVIRONMENT, 'start'],
    env: { PATH: process.env['PATH'] },
    stopSignal: 'SIGINT',
    probe: () => probe(address),
  });
  const stop = async () => {
    await server.stop();
    await rm(folder, { recursive: true });
  };
  try {
    await server.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, stop };
}

/** Builds the programs once. */
async function findPrograms(): Promise<{ server: string; sql: string }> {
  const folder = path.join(temporalCacheDir(process.env), `temporal-server-${VERSION}`);
  const programs = { server: path.join(folder, 'server'), sql: path.join(folder, 'sql') };
  try {
    await Promise.all(Object.values(programs).map((file) => access(file)));
  } catch {
    console.error(`Building the Temporal server ${VERSION} with Go, once. This takes some minutes.`);
    await mkdir(folder, { recursive: true });
    await go(['install', `${MODULE}/cmd/server@${VERSION}`, `${MODULE}/cmd/tools/sql@${VERSION}`], {
      GOBIN: folder,
    });
  }
  return programs;
}

async function go(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  try {
    const { stdout } = await execa('go', args, { env });
    return stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Error('`go` is not on the PATH, and the production server is built with it. Install Go.', {
      cause: error,
    });
  }
}

/** The schema's files come with the module. */
async function createSchemas(sql: string, url: URL): Promise<void> {
  const { Dir: module } = JSON.parse(await go(['mod', 'download', '-json', `${MODULE}@${VERSION}`])) as {
    Dir: string;
  };
  const { user, password } = credentialsOf(url);
  for (const [schema, database] of Object.entries(STORES)) {
    const run = (...args: string[]) =>
      execa(sql, ['--plugin', 'postgres12', '--database', database, ...args], {
        env: {
          SQL_HOST: url.hostname,
          SQL_PORT: url.port,
          SQL_USER: user,
          SQL_PASSWORD: password,
        },
      });
    await run('create-database');
    await run('setup-schema', '--version', '0.0');
    const files = path.join(module, 'schema', 'postgresql', 'v12', schema, 'versioned');
    await run('update-schema', '--schema-dir', files);
  }
}

/** @returns the port of the frontend */
async function writeConfig(
  folder: string,
  url: URL,
  { metricsPort, dynamicConfig }: ProductionOptions,
): Promise<number> {
  const ports: number[] = [];
  const nextPort = async () => {
    const port = await getPort({ host: HOST, port: portNumbers(...PORTS), exclude: ports });
    ports.push(port);
    return port;
  };
  const services: Record<string, unknown> = {};
  for (const service of SERVICES) {
    const grpcPort = await nextPort();
    services[service] = { rpc: { grpcPort, membershipPort: await nextPort(), bindOnLocalHost: true } };
  }
  const frontendPort = ports[0]!;
  const store = (databaseName: string) => ({
    sql: {
      pluginName: 'postgres12',
      databaseName,
      connectAddr: url.host,
      connectProtocol: 'tcp',
      ...credentialsOf(url),
      maxConns: 20,
      maxIdleConns: 20,
    },
  });
  const dynamicFile = path.join(folder, 'dynamic.yaml');
  // JSON is YAML.
  await writeFile(
    dynamicFile,
    JSON.stringify(
      Object.fromEntries(
        Object.entries({ ...DEFAULT_DYNAMIC_CONFIG, ...dynamicConfig }).map(([key, value]) => [
          key,
          [{ value }],
        ]),
      ),
    ),
  );
  const config = {
    log: { stdout: true, level: 'error' },
    persistence: {
      defaultStore: 'temporal',
      visibilityStore: 'visibility',
      numHistoryShards: HISTORY_SHARDS,
      datastores: { temporal: store(STORES.temporal), visibility: store(STORES.visibility) },
    },
    global: {
      membership: { maxJoinDuration: '30s', broadcastAddress: HOST },
      ...(metricsPort === undefined
        ? {}
        : { metrics: { prometheus: { framework: 'tally', listenAddress: `${HOST}:${metricsPort}` } } }),
    },
    services,
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: {
          enabled: true,
          initialFailoverVersion: 1,
          rpcName: 'frontend',
          rpcAddress: `${HOST}:${frontendPort}`,
        },
      },
    },
    dcRedirectionPolicy: { policy: 'noop' },
    archival: { history: { state: 'disabled' }, visibility: { state: 'disabled' } },
    namespaceDefaults: {
      archival: { history: { state: 'disabled' }, visibility: { state: 'disabled' } },
    },
    publicClient: { hostPort: `${HOST}:${frontendPort}` },
    dynamicConfigClient: { filepath: dynamicFile, pollInterval: '10s' },
  };
  await writeFile(path.join(folder, `${ENVIRONMENT}.yaml`), JSON.stringify(config));
  return frontendPort;
}

function credentialsOf(url: URL): { user: string; password: string } {
  return { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
}

/** Makes the namespace that a dev server would make by itself, and resolves once it can be used. */
async function probe(address: string): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: '2s' });
  try {
    await connection.workflowService.registerNamespace({
      namespace: NAMESPACE,
      workflowExecutionRetentionPeriod: { seconds: DAY_S as never },
    });
  } catch (error) {
    if (!isGrpcServiceError(error) || !ALREADY_EXISTS.includes(error.code)) throw error;
  } finally {
    await connection.close();
  }
  await probeTemporal(address, NAMESPACE);
}
