import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { oneLine } from '../doctor/words.ts';
import { InvalidOptionError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';

export interface TemporalFlags {
  readonly address?: string;
  readonly namespace?: string;
}

/** How to reach Temporal: what Temporal's own tools would use, with the flags above it. */
export interface TemporalSettings {
  readonly address: string;
  readonly namespace: string;
  /** @throws what the connection throws when the server does not answer */
  connect(): Promise<{ client: Client; close(): Promise<void> }>;
}

const DEFAULT_ADDRESS = '127.0.0.1:7233';

/**
 * Reads TEMPORAL_ADDRESS and the other variables, and the profile in temporal.toml.
 *
 * @throws {@link InvalidOptionError} when the profile or its file cannot be read
 */
export function temporalSettings(env: NodeJS.ProcessEnv, flags: TemporalFlags): TemporalSettings {
  const { connectionOptions, namespace: configured } = loadConfig(env);
  const address = flags.address ?? connectionOptions.address ?? DEFAULT_ADDRESS;
  const namespace = flags.namespace ?? configured ?? 'default';
  const { apiKey, tls, metadata } = connectionOptions;
  return {
    address,
    namespace,
    connect: async () => {
      const connection = await Connection.connect({
        address,
        connectTimeout: CALLS.connect,
        ...(apiKey === undefined ? {} : { apiKey }),
        ...(tls === undefined ? {} : { tls }),
        ...(metadata === undefined ? {} : { metadata }),
      });
      return { client: new Client({ connection, namespace }), close: () => connection.close() };
    },
  };
}

function loadConfig(env: NodeJS.ProcessEnv) {
  // An empty variable is an absent one: that is how shells and CI systems unset them.
  const entries = Object.entries(env).filter((entry): entry is [string, string] => Boolean(entry[1]));
  try {
    return loadClientConnectConfig({ overrideEnvVars: Object.fromEntries(entries) });
  } catch (error) {
    throw new InvalidOptionError(
      'TEMPORAL_PROFILE or TEMPORAL_CONFIG_FILE',
      `one that can be read (${oneLine(error instanceof Error ? error.message : String(error))})`,
      env['TEMPORAL_PROFILE'] ?? env['TEMPORAL_CONFIG_FILE'],
    );
  }
}
