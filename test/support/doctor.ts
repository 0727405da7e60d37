import { inject } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { buildProgram } from '../../src/cli/program.ts';
import type { FindingCode } from '../../src/doctor/findings.ts';
import { defineCallback, defineJob } from '../../src/index.ts';
import { BrokenError } from './fixtures.ts';
import type { World } from './world.ts';

/** What `batch-jobs doctor --json` says of a batch. */
export interface DoctorReport {
  readonly id: string;
  readonly verdict: string;
  readonly findings: readonly {
    readonly code: FindingCode;
    readonly severity: string;
    readonly message: string;
    readonly advice: string;
    readonly since: string | null;
    readonly details: Record<string, unknown>;
  }[];
}

/** Runs the command on the world's servers, as a shell would. */
export async function doctor(world: World, ...args: string[]) {
  let stdout = '';
  let stderr = '';
  const program = buildProgram({
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    env: {
      DATABASE_URL: inject('databaseUrl'),
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_NAMESPACE: inject('temporalNamespace'),
    },
  });
  const exitCode = await exitCodeOf(
    () => program.parseAsync(['doctor', '--schema', world.schema, ...args], { from: 'user' }),
    { write: (text) => (stderr += text) },
  );
  return { exitCode, stdout, stderr };
}

/** The report on one batch; every batch stands still for it. */
export async function examine(world: World, batchId: string) {
  const { exitCode, stdout, stderr } = await doctor(world, batchId, '--json', '--idle', '1ms');
  if (stdout === '') throw new Error(stderr);
  const report = JSON.parse(stdout) as DoctorReport;
  return { exitCode, ...report, codes: report.findings.map(({ code }) => code) };
}

/** Jobs and callbacks that make a batch stand still. */
export function createTroubles() {
  const later = { initialInterval: '10 minutes', maximumAttempts: 2 } as const;
  return {
    /** Given to no worker. */
    strangeJob: defineJob('StrangeJob', async () => {}),
    /** Given to no worker. */
    strangeCallback: defineCallback('StrangeCallback', async () => {}),
    failsForNow: defineJob(
      'FailsForNow',
      async () => {
        throw new BrokenError('not today');
      },
      { retry: later },
    ),
    failingCallback: defineCallback(
      'FailingCallback',
      async () => {
        throw new BrokenError('no mail server');
      },
      { retry: later },
    ),
  };
}
