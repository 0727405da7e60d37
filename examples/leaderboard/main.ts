// The demo's process: options in, exit code out. `runDemo` is the demo itself.
import { Cleanup } from './cleanup.ts';
import { runDemo } from './demo.ts';
import { parseOptions } from './options.ts';
import { Terminal } from './terminal.ts';

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

const options = parseOptions(process.argv);
// With --json, standard output is for the program that reads it.
const terminal = new Terminal(options.json ? process.stderr : process.stdout);
const cleanup = new Cleanup();
cleanup.add(() => terminal.endProgress());

// The handlers stay on: with none left, the servers' own handlers would end this process before it has cleaned up.
const interrupted = new Promise<keyof typeof EXIT_CODES>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve(signal));
});

process.exitCode = await main();
terminal.endProgress();
await cleanup.run();
// What an interrupted batch still waits for keeps nothing up.
process.exit();

async function main(): Promise<number> {
  try {
    const outcome = await Promise.race([runDemo(options, terminal, cleanup), interrupted]);
    if (typeof outcome === 'string') {
      terminal.endProgress();
      terminal.line();
      terminal.line(`Interrupted by ${outcome}; stopping what was started.`);
      return EXIT_CODES[outcome];
    }
    if (options.json) process.stdout.write(`${JSON.stringify(outcome)}\n`);
    if (options.keep) {
      terminal.line();
      terminal.line(terminal.paint('bold', 'Everything stays up. Press Ctrl-C to stop it.'));
      await interrupted;
    }
    return outcome.ok ? 0 : 1;
  } catch (error) {
    terminal.endProgress();
    terminal.line(
      `${terminal.paint('red', 'The demo failed:')} ${error instanceof Error ? error.message : String(error)}`,
    );
    return 1;
  }
}
