#!/usr/bin/env node
import process from 'node:process';
import { exitCodeOf } from './exit-code.ts';
import { buildProgram } from './program.ts';

const { stdout, stderr, env } = process;

/** After the first signal the handlers are gone, so that a second one ends a shutdown that hangs. */
function shutdownSignal(): AbortSignal {
  const shutdown = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const onSignal = () => {
    for (const name of signals) process.off(name, onSignal);
    shutdown.abort();
  };
  for (const name of signals) process.on(name, onSignal);
  return shutdown.signal;
}

const program = buildProgram({ stdout, stderr, env, shutdownSignal });
// Not process.exit: it would cut off output that a pipe has not taken yet.
process.exitCode = await exitCodeOf(() => program.parseAsync(), stderr);
