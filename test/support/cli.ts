import { PassThrough } from 'node:stream';
import { inject } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { buildProgram } from '../../src/cli/program.ts';

export interface CliOptions {
  /** Over those of the servers that all tests share. */
  readonly env?: NodeJS.ProcessEnv;
  /** What a person at a terminal types. @default no terminal */
  readonly answer?: string;
  /** Hears what the command prints while it runs. */
  readonly onStdout?: (text: string) => void;
}

/** Runs a command on the servers that all tests share, as a shell would. */
export async function runCli(args: readonly string[], { env = {}, answer, onStdout }: CliOptions = {}) {
  const output = { stdout: '', stderr: '' };
  const stdin = new PassThrough();
  stdin.end(answer);
  const program = buildProgram({
    stdin: Object.assign(stdin, { isTTY: answer !== undefined }),
    stdout: {
      write: (text) => {
        output.stdout += text;
        onStdout?.(text);
      },
    },
    stderr: { write: (text) => (output.stderr += text), isTTY: answer !== undefined },
    env: {
      DATABASE_URL: inject('databaseUrl'),
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_NAMESPACE: inject('temporalNamespace'),
      ...env,
    },
  });
  const exitCode = await exitCodeOf(() => program.parseAsync([...args], { from: 'user' }), {
    write: (text) => (output.stderr += text),
  });
  return { exitCode, ...output };
}
