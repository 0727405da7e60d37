import { SingleBar } from 'cli-progress';
import type { CliOutput } from './context.ts';

/** Shows on a terminal how far `run` is; writes nothing elsewhere. */
export async function withProgressBar<T>(
  output: CliOutput,
  { total, noun }: { readonly total: number; readonly noun: string },
  run: (update: (done: number) => void) => Promise<T>,
): Promise<T> {
  if (!output.isTTY || total === 0) return run(() => {});
  const bar = new SingleBar({
    stream: output as NodeJS.WriteStream,
    format: `{bar} {percentage}% {value} of {total} ${noun} {eta_formatted}`,
    clearOnComplete: true,
    // A signal ends the process as it does without a bar, and finds the terminal as it was.
    gracefulExit: false,
    linewrap: true,
  });
  bar.start(total, 0);
  try {
    return await run((done) => bar.update(done));
  } finally {
    bar.stop();
  }
}
