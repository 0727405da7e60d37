import { InvalidArgumentError, type Command } from 'commander';
import type { BatchEvent, BatchOutcome, BatchStatus } from '../../workflows/batch-state.ts';
import type { JobStatus } from '../database/rows.ts';
import type { TemporalFlags } from './temporal.ts';

/** How a command finds the database. */
export interface DatabaseFlags {
  readonly databaseUrl?: string;
  readonly schema?: string;
}

export const OUTCOMES: readonly BatchOutcome[] = ['complete', 'failed', 'cancelled'];
export const STATUSES: readonly BatchStatus[] = ['pending', 'running', ...OUTCOMES];
export const EVENTS: readonly BatchEvent[] = ['complete', 'failure', 'cancelled', 'settled', 'idle'];
export const JOB_STATUSES: readonly JobStatus[] = ['pending', 'complete', 'failed', 'cancelled'];

export function addDatabaseOptions(command: Command): Command {
  return command
    .option('--database-url <url>', 'connection string (default: DATABASE_URL)')
    .option('--schema <name>', 'database schema of the tables (default: public)');
}

export function addTemporalOptions(command: Command): Command {
  return command
    .option('--address <host:port>', 'address of Temporal (default: TEMPORAL_ADDRESS, or temporal.toml)')
    .option('--namespace <name>', 'Temporal namespace (default: TEMPORAL_NAMESPACE, or temporal.toml)')
    .option(
      '--codec-endpoint <url>',
      'codec server, where the app has a payload codec (default: TEMPORAL_CODEC_ENDPOINT)',
    )
    .option('--codec-auth <value>', 'header Authorization for it (default: TEMPORAL_CODEC_AUTH)');
}

/** A whole number of at least `min`, as a parser of an option. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    if (!isWholeNumber(text, min)) {
      throw new InvalidArgumentError(`Give a whole number of at least ${min}.`);
    }
    return Number(text);
  };
}

/** Takes a limit, a deadline or an alert away. */
export const NONE = 'none';

export type NumberOrNone = number | typeof NONE;

/** Parses an option that takes a number of 0 or more, or `none`. */
export function numberOrNone(text: string): NumberOrNone {
  if (text === NONE) return NONE;
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('Give a number, or none.');
  return Number(text);
}

/** Parses an option that takes a whole number of 0 or more, or `none`. */
export function wholeNumberOrNone(text: string): NumberOrNone {
  if (text === NONE) return NONE;
  if (!isWholeNumber(text, 0)) throw new InvalidArgumentError('Give a whole number of at least 0, or none.');
  return Number(text);
}

function isWholeNumber(text: string, min: number): boolean {
  const value = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(value) && value >= min;
}

/** What every command has that changes a batch. */
export interface ChangeFlags extends DatabaseFlags, TemporalFlags {
  readonly yes?: true;
  readonly json?: true;
}

export function addChangeOptions(command: Command): Command {
  command
    .option('--yes', 'do not ask; needed where there is no terminal')
    .option('--json', 'print the result as one line of JSON');
  return addTemporalOptions(addDatabaseOptions(command));
}
