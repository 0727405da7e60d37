import { Command, InvalidArgumentError } from 'commander';
import { runThroughput } from './throughput.ts';

const positiveInteger = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('A whole number of at least 1.');
  return value;
};

const program = new Command('bench').description('Measures, and prints what it compares to.');
program
  .command('throughput')
  .description('Enrol, run and call back no-op jobs; against the bare writes of their rows.')
  .option('--jobs <n>', 'jobs of the batch', positiveInteger, 100_000)
  .option('--runs <n>', 'runs; the median counts', positiveInteger, 3)
  .addHelpText('after', '\nExample:\n  npm run bench -- throughput --jobs 10000')
  .action(runThroughput);
await program.parseAsync();
