import { Client, Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { oneLine } from '../doctor/words.ts';
import { InvalidOptionError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';
import { remoteCodec } from './remote-codec.ts';

export interface TemporalFlags {
  readonly address?: string;
  readonly namespace?: string;
  readonly codecEndpoint?: string;
  readonly codecAuth?: string;
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
 * @throws {@link InvalidOptionError} when the profile or its file cannot be read, or for an endpoint that is no URL
 */
export function temporalSettings(env: NodeJS.ProcessEnv, flags: TemporalFlags): TemporalSettings {
  const { connectionOptions, namespace: configured } = loadConfig(env);
  const address = flags.address ?? connectionOptions.address ?? DEFAULT_ADDRESS;
  const namespace = flags.namespace ?? configured ?? 'default';
  const { apiKey, tls, metadata } = connectionOptions;
  // The SDK's reader of temporal.toml leaves out what that says of a codec.
  const endpoint = flags.codecEndpoint ?? env['TEMPORAL_CODEC_ENDPOINT'];
  const auth = flags.codecAuth ?? (env['TEMPORAL_CODEC_AUTH'] || undefined);
  const payloadCodecs = endpoint ? [remoteCodec({ endpoint, auth, namespace })] : [];
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
      const client = new Client({ connection, namespace, dataConverter: { payloadCodecs } });
      return { client, close: () => connection.close() };
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
