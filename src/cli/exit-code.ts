import { CommanderError } from 'commander';
import type { CliOutput } from './context.ts';

/** What the process tells its caller: done, failed, or called in a wrong way. */
export const ExitCode = { ok: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Thrown by a command that did its work, printed what it found, and found something wrong. */
export class FoundWantingError extends Error {}

/** Thrown by a command that was called in a wrong way which the parser cannot see. */
export class UsageError extends Error {}

/**
 * Runs a command and turns its outcome into an exit code, with a line on standard error where it failed.
 *
 * @param run - parses and runs; rejects with what went wrong
 */
export async function exitCodeOf(run: () => Promise<unknown>, stderr: CliOutput): Promise<ExitCode> {
  try {
    await run();
    return ExitCode.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      // The parser has printed its message, or the help or version that was asked for.
      return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
    }
    if (error instanceof FoundWantingError) return ExitCode.failed;
    stderr.write(`${describeError(error)}\n`);
    const isWrongCall = error instanceof UsageError || codeOf(error) === 'INVALID_OPTION';
    return isWrongCall ? ExitCode.usage : ExitCode.failed;
  }
}

function describeError(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`;
  if (error instanceof AggregateError && error.errors.length > 0) {
    // Node reports a refused connection to a name with two addresses like this, without a message of its own.
    return error.errors.map(describeError).join('\n');
  }
  const code = codeOf(error);
  return `error${code === undefined ? '' : ` [${code}]`}: ${messageOf(error)}`;
}

function messageOf(error: Error): string {
  // Of what Postgres says: Knex puts the whole statement before it.
  if ('severity' in error) return error.message.split(' - ').at(-1)!;
  if (codeOf(error) !== 'INVALID_OPTION' || !('option' in error) || typeof error.option !== 'string')
    return error.message;
  return error.message.replace(error.option, () => flagOf(error.option as string));
}

/** How the command line calls an option of the library; what is none of them stays as it is. */
function flagOf(option: string): string {
  if (ARGUMENTS.has(option) || !/^[a-z][\w.]*$/i.test(option)) return option;
  const [name, ...path] = option.split('.');
  const flag = FLAGS[name!] ?? name!.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return [`--${flag}`, ...(path.length > 0 ? [path.join('.')] : [])].join(' ');
}

/** Options of the library that are arguments there, which have no flag. */
const ARGUMENTS: ReadonlySet<string> = new Set(['id', 'name']);

/** Of options that have another name there. */
const FLAGS: Readonly<Record<string, string>> = {
  database: 'database-url',
  every: 'schedule',
  jobLimits: 'job-limit',
};

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
