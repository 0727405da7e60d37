import { inject } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { buildProgram } from '../../src/cli/program.ts';

/** Runs a command on the servers that all tests share, as a shell would. */
export async function runCli(args: readonly string[]) {
  const output = { stdout: '', stderr: '' };
  const program = buildProgram({
    stdout: { write: (text) => (output.stdout += text) },
    stderr: { write: (text) => (output.stderr += text) },
    env: {
      DATABASE_URL: inject('databaseUrl'),
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_NAMESPACE: inject('temporalNamespace'),
    },
  });
  const exitCode = await exitCodeOf(() => program.parseAsync([...args], { from: 'user' }), {
    write: (text) => (output.stderr += text),
  });
  return { exitCode, ...output };
}
