import { Connection } from '@temporalio/client';
import getPort from 'get-port';
import { environmentValue, resolveBaseOptions, type DevServerBaseOptions } from './options.ts';
import { ExternalServer, LocalServer, type ServerHandle } from './server-handle.ts';
import { ServerProcess } from './server-process.ts';
import { findTemporalBinary } from './temporal-binary.ts';

const HOST = '127.0.0.1';
const DEFAULT_NAMESPACE = 'default';
const PROBE_TIMEOUT_MS = 2_000;

/** Options of {@link startTemporal}. */
export interface TemporalOptions extends DevServerBaseOptions {
  /**
   * File that keeps the server's state; its folder must exist. Slower than memory, and without it `restart()` and
   * `kill()` lose every workflow.
   *
   * @default memory
   */
  readonly dbFilename?: string;
  /**
   * Server settings by their dynamic configuration key, over the ones that this module chooses.
   *
   * @default {}
   */
  readonly dynamicConfig?: Readonly<Record<string, boolean | number | string>>;
  /**
   * Port of the server's own metrics (Prometheus, `/metrics`) on 127.0.0.1.
   *
   * @default a free port
   */
  readonly metricsPort?: number;
  /**
   * Port of the gRPC API on 127.0.0.1.
   *
   * @default a free port
   */
  readonly port?: number;
  /**
   * Port of the Web UI on 127.0.0.1.
   *
   * @default a free port
   */
  readonly uiPort?: number;
}

/** A Temporal server for development. */
export interface TemporalServer extends ServerHandle {
  readonly namespace: string;
  /** Address of the Web UI; `undefined` for a server that was not started here. */
  readonly webUiUrl: string | undefined;
}

// The server's defaults share out a production cluster among tenants. Here one tenant should meet the machine's
// limit, not these. Limits on the size of workflows stay as they are: code must live with them.
export const DEFAULT_DYNAMIC_CONFIG = {
  'frontend.rps': 100_000,
  'frontend.namespaceRPS': 100_000,
  // Calls in flight, long polls of workers included.
  'frontend.namespaceCount': 10_000,
  'frontend.namespaceRPS.visibility': 1_000,
  'frontend.persistenceMaxQPS': 100_000,
  'history.rps': 100_000,
  // 20 a second for each shard by default, and the dev server has one shard: each hop of a workflow would wait 50 ms.
  'history.transferProcessorMaxPollRPS': 10_000,
  'history.timerProcessorMaxPollRPS': 10_000,
  'history.visibilityProcessorMaxPollRPS': 10_000,
  'history.persistenceMaxQPS': 100_000,
  'matching.rps': 100_000,
  'matching.persistenceMaxQPS': 100_000,
  // Servers before 1.28 have these off: updates, and update-with-start.
  'frontend.enableUpdateWorkflowExecution': true,
  'frontend.enableExecuteMultiOperation': true,
} as const;

/**
 * Starts a Temporal server for development, or uses the one that `TEMPORAL_ADDRESS` names.
 *
 * @throws {@link DevServerError} when there is no `temporal` program and none can be had, or it does not start
 *
 * @example
 * ```ts
 * await using temporal = await startTemporal();
 * const connection = await Connection.connect({ address: temporal.address });
 * ```
 */
export async function startTemporal(options: TemporalOptions = {}): Promise<TemporalServer> {
  const base = resolveBaseOptions(options);
  const namespace = environmentValue(base.env, 'TEMPORAL_NAMESPACE') ?? DEFAULT_NAMESPACE;
  const external = environmentValue(base.env, 'TEMPORAL_ADDRESS');
  if (external !== undefined) return new ExternalTemporal(external, namespace);
  const file = await findTemporalBinary(base);
  const port = options.port ?? (await getPort({ host: HOST }));
  const uiPort = options.uiPort ?? (await getPort({ host: HOST, exclude: [port] }));
  const address = `${HOST}:${port}`;
  const server = new ServerProcess({
    name: 'Temporal',
    file,
    args: serverArguments({ ...options, port, uiPort, namespace }),
    env: temporalEnvironment(base.env),
    stopSignal: 'SIGINT',
    // It picks ports of its own, which another program may take before it listens.
    isTransientExit: (output) => output.includes('panic') && output.includes('address already in use'),
    probe: () => probeTemporal(address, namespace),
  });
  await server.start();
  return new LocalTemporal(namespace, `http://${HOST}:${uiPort}`, address, server);
}

class LocalTemporal extends LocalServer implements TemporalServer {
  readonly namespace: string;
  readonly webUiUrl: string;

  constructor(namespace: string, webUiUrl: string, ...rest: ConstructorParameters<typeof LocalServer>) {
    super(...rest);
    this.namespace = namespace;
    this.webUiUrl = webUiUrl;
  }
}

class ExternalTemporal extends ExternalServer implements TemporalServer {
  readonly namespace: string;
  readonly webUiUrl = undefined;

  constructor(address: string, namespace: string) {
    super(address, 'TEMPORAL_ADDRESS');
    this.namespace = namespace;
  }
}

function serverArguments(
  options: TemporalOptions & { readonly port: number; readonly uiPort: number; readonly namespace: string },
): string[] {
  const dynamicConfig = { ...DEFAULT_DYNAMIC_CONFIG, ...options.dynamicConfig };
  return [
    'server',
    'start-dev',
    `--ip=${HOST}`,
    `--port=${options.port}`,
    `--ui-port=${options.uiPort}`,
    `--namespace=${options.namespace}`,
    '--log-level=error',
    ...(options.metricsPort === undefined ? [] : [`--metrics-port=${options.metricsPort}`]),
    ...(options.dbFilename === undefined ? [] : [`--db-filename=${options.dbFilename}`]),
    ...Object.entries(dynamicConfig).map(
      ([key, value]) => `--dynamic-config-value=${key}=${JSON.stringify(value)}`,
    ),
  ];
}

/** Resolves once the namespace can be used: it is created after the port opens, and cached some time later. */
export async function probeTemporal(address: string, namespace: string): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: PROBE_TIMEOUT_MS });
  try {
    await connection.withDeadline(Date.now() + PROBE_TIMEOUT_MS, async () => {
      await connection.workflowService.describeNamespace({ namespace });
      await connection.workflowService.countWorkflowExecutions({ namespace });
    });
  } finally {
    await connection.close();
  }
}

/** Without the caller's `TEMPORAL_…` variables: they speak of other servers, and the program reads them as flags. */
function temporalEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('TEMPORAL_')));
}
