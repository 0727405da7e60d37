#!/usr/bin/env node
import process from 'node:process';
import { exitCodeOf } from './exit-code.ts';
import { buildProgram } from './program.ts';

const { stdin, stdout, stderr, env } = process;

/**
 * The handlers stay for good. One Ctrl-C often arrives twice, from the terminal and through npm; and removed ones would leave
 * the process to execa's handler, which ends it at once where it is the only one.
 */
function shutdownSignal(): AbortSignal {
  const shutdown = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => shutdown.abort());
  return shutdown.signal;
}

// Who reads our output may have seen enough, such as `head`: that is no error, and nobody is left to write for.
stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

const program = buildProgram({ stdin, stdout, stderr, env, shutdownSignal });
// Not process.exit: it would cut off output that a pipe has not taken yet.
process.exitCode = await exitCodeOf(() => program.parseAsync(), stderr);
