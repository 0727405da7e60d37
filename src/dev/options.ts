import type { PostgresOptions } from './postgres.ts';
import type { TemporalOptions } from './temporal.ts';

/** What both servers' options share. */
export interface DevServerBaseOptions {
  /**
   * Environment variables to read.
   *
   * @default process.env
   */
  readonly env?: NodeJS.ProcessEnv;
  /**
   * Receives progress that a person would wait for, such as a build that takes minutes.
   *
   * @default writes lines to standard error
   */
  readonly log?: (line: string) => void;
}

/** Options of {@link startDevServers}. */
export interface DevServersOptions extends DevServerBaseOptions {
  /**
   * Folder that keeps the data of both servers. It is created when missing, reused when not, and stays after `stop()`.
   *
   * Temporal then keeps its state on disk, which is slower than in memory.
   *
   * @default a temporary folder for Postgres, memory for Temporal
   */
  readonly dataDir?: string;
  /** Options for Postgres alone. @default {} */
  readonly postgres?: Omit<PostgresOptions, 'dataDir' | keyof DevServerBaseOptions>;
  /** Options for Temporal alone. @default {} */
  readonly temporal?: Omit<TemporalOptions, keyof DevServerBaseOptions>;
}

/** The base options with defaults filled in. */
export interface ResolvedBaseOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly log: (line: string) => void;
}

/** Fills in the options that both servers share. */
export function resolveBaseOptions(options: DevServerBaseOptions): ResolvedBaseOptions {
  return {
    env: options.env ?? process.env,
    log: options.log ?? ((line) => void process.stderr.write(`${line}\n`)),
  };
}

/** A variable's value, with an empty one read as absent: that is how shells and CI systems unset them. */
export function environmentValue(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === '' ? undefined : value;
}
