import { Command, InvalidArgumentError } from 'commander';

export interface DemoOptions {
  readonly json: boolean;
  readonly keep: boolean;
  readonly killWorker: boolean;
  /** Most cities of a batch; absent: all. */
  readonly limit?: number;
  readonly schema: string;
}

const MINIMUM_LIMIT = 100;

const HELP = `
Examples:
  $ bin/demo                             run both batches, show what happened
  $ bin/demo --kill-worker               kill the worker in the middle of the large batch
  $ bin/demo --keep                      leave the servers up: SQL and the Web UI until Ctrl-C
  $ bin/demo --limit 5000                a shorter run
  $ bin/demo --json | jq .batches        the summary for a program

Environment:
  DATABASE_URL        use this Postgres in place of one started for the demo
  TEMPORAL_ADDRESS    use this Temporal server in place of one started for the demo
  NO_COLOR            no colours
`;

/** Reads the command line. Prints help or what is wrong and exits where that is called for. */
export function parseOptions(argv: readonly string[]): DemoOptions {
  return new Command('bin/demo')
    .description('Scores 135,233 cities in two batches of jobs, and shows what became of each of them.')
    .option(
      '--json',
      'print a machine-readable summary on standard output, all else on standard error',
      false,
    )
    .option('--keep', 'leave the servers up at the end, until Ctrl-C', false)
    .option('--kill-worker', 'SIGKILL the worker process in the middle of the large batch', false)
    .option(
      '--limit <n>',
      `most cities of a batch, at least ${MINIMUM_LIMIT}; bad records stay in`,
      parseLimit,
    )
    .option(
      '--schema <name>',
      'schema for all tables, made new at the start',
      parseSchema,
      'leaderboard_demo',
    )
    .addHelpText('after', HELP)
    .parse(argv)
    .opts<DemoOptions>();
}

function parseLimit(value: string): number {
  const limit = Number(value);
  if (!Number.isInteger(limit) || limit < MINIMUM_LIMIT) {
    throw new InvalidArgumentError(`Give a whole number of at least ${MINIMUM_LIMIT}.`);
  }
  return limit;
}

function parseSchema(value: string): string {
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(value)) {
    throw new InvalidArgumentError('Give a lower-case Postgres identifier such as leaderboard_demo.');
  }
  return value;
}
