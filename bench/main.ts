import { Command, InvalidArgumentError, Option } from 'commander';
import { runCancel } from './cancel.ts';
import { runContention } from './contention.ts';
import { runCost } from './cost.ts';
import { runLatency } from './latency.ts';
import { runLong } from './long.ts';
import { RIVALS } from './rivals/index.ts';
import { runScale } from './scale.ts';
import { runThroughput } from './throughput.ts';
import { runWatch } from './watch.ts';
import { runWorkflows } from './workflows.ts';

const positiveInteger = (text: string): number => {
  const value = Number(text.replaceAll(/[_,]/g, ''));
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('A whole number of at least 1.');
  return value;
};
const numbers = (text: string, before: number[] | undefined): number[] => [
  ...(before ?? []),
  positiveInteger(text),
];

const program = new Command('bench').description(
  'Measures, and prints what it compares to. Servers: DATABASE_URL and TEMPORAL_ADDRESS, else embedded ones.',
);
const bench = (name: string, description: string, example: string) =>
  program
    .command(name)
    .description(description)
    .option('--json', 'print the line of JSON alone')
    .addOption(
      new Option(
        '--server <which>',
        'the Temporal server to measure with; production: its state is in Postgres',
      )
        .choices(['dev', 'production'])
        .default('dev'),
    )
    .addHelpText('after', `\nExample:\n  npm run bench -- ${name} ${example}`);

bench(
  'throughput',
  'Enrol, run and call back no-op jobs; against the bare writes of their rows, and against other queues.',
  '--jobs 10000 --without bullmqFlows pgBoss',
)
  .option('--jobs <n>', 'jobs of the batch', positiveInteger, 100_000)
  .option('--runs <n>', 'runs; the median counts', positiveInteger, 3)
  .addOption(new Option('--without <names...>', 'rivals to leave out').choices(Object.keys(RIVALS)))
  .action(runThroughput);
bench('latency', 'How long small batches take, from create to the callback.', '--sizes 1 10')
  .option('--sizes <n...>', 'jobs of a batch (default: 1 10 100)', numbers)
  .option('--batches <n>', 'batches of each size', positiveInteger, 200)
  .action(({ sizes = [1, 10, 100], ...options }) => runLatency({ sizes, ...options }));
bench('scale', 'Rate, memory, histories and disk of ever larger batches.', '--sizes 10000 1000000')
  .option('--sizes <n...>', 'jobs of a batch (default: 10000 100000 1000000)', numbers)
  .action(({ sizes = [10_000, 100_000, 1_000_000], ...options }) => runScale({ sizes, ...options }));
bench('long', 'Jobs that wait, over two worker processes; against the work divided by the slots.', '--runs 1')
  .option('--seconds <n>', 'jobs of 1 s', positiveInteger, 2_000)
  .option('--mixed <n>', 'jobs of the mix', positiveInteger, 200_000)
  .option('--runs <n>', 'runs; the median counts', positiveInteger, 3)
  .option(
    '--straggler [n]',
    'instead: jobs of 100 ms, with and without one of 10 min (default: 100000)',
    positiveInteger,
  )
  .action(({ straggler, ...options }) =>
    runLong({ ...options, ...(straggler ? { straggler: straggler === true ? 100_000 : straggler } : {}) }),
  );
bench('cost', 'Temporal actions and state transitions a job.', '--short 100000')
  .option('--short <n>', 'no-op jobs', positiveInteger, 100_000)
  .option('--long <n>', 'jobs of 1 s', positiveInteger, 2_000)
  .action(runCost);
bench('contention', 'A small batch beside a large one, and 20 batches at once.', '--jobs 100000')
  .option('--jobs <n>', 'jobs of the large batch', positiveInteger, 1_000_000)
  .option('--jobs-each <n>', 'jobs of each of the 20 batches', positiveInteger, 5_000)
  .action(runContention);
bench(
  'cancel',
  'How soon a running batch that is cancelled starts nothing more, and has settled.',
  '--sizes 10000',
)
  .option('--sizes <n...>', 'jobs of a batch (default: 10000 1000000)', numbers)
  .action(({ sizes = [10_000, 1_000_000], ...options }) => runCancel({ sizes, ...options }));
bench(
  'workflows',
  'Workflows of an app as the jobs of a batch; against the same ones without it.',
  '--jobs 500',
)
  .option('--jobs <n>', 'workflows', positiveInteger, 500)
  .option('--runs <n>', 'runs of each way; the median counts', positiveInteger, 3)
  .action(runWorkflows);
bench(
  'watch',
  'What following a running batch costs the database, a tick, by the loop of `status --watch`.',
  '--jobs 100000',
)
  .option('--jobs <n>', 'jobs of the batch', positiveInteger, 1_000_000)
  .action(runWatch);
await program.parseAsync();
