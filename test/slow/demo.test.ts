import { randomBytes } from 'node:crypto';
import { execaNode } from 'execa';
import { Client as PostgresClient } from 'pg';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { Summary } from '../../examples/leaderboard/summary.ts';
import { eventually } from '../support/eventually.ts';
import { compiledScript } from '../support/processes.ts';

const MAIN = compiledScript('examples/leaderboard/main.ts');
const BAD_RECORDS = 25;

/** Starts the demo on the servers of this test run, in a schema of its own. */
function startDemo(...args: string[]) {
  const schema = `demo_${randomBytes(6).toString('hex')}`;
  onTestFinished(async () => {
    const client = new PostgresClient({ connectionString: inject('databaseUrl') });
    await client.connect();
    await client.query(`drop schema if exists ${schema} cascade`);
    await client.end();
  });
  const demo = execaNode(MAIN, ['--json', `--schema=${schema}`, ...args], {
    nodeOptions: [],
    env: {
      DATABASE_URL: inject('databaseUrl'),
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_NAMESPACE: inject('temporalNamespace'),
    },
    stdin: 'ignore',
    reject: false,
  });
  onTestFinished(async () => {
    demo.kill('SIGKILL');
    await demo;
  });
  return demo;
}

async function runDemo(...args: string[]): Promise<Summary> {
  const { exitCode, stderr, stdout } = await startDemo(...args);
  // What it said is what tells why.
  if (exitCode !== 0) throw new Error(`The demo ended with exit code ${exitCode}.\n${stderr}`);
  return JSON.parse(stdout) as Summary;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('the demo accounts for every job of a batch that fails and of one that completes', async () => {
  const { batches, ok } = await runDemo('--limit=3000');

  expect(ok).toBe(true);
  expect(batches.map(({ facts }) => facts)).toMatchObject([
    {
      status: 'failed',
      total: 3_000,
      complete: 3_000 - BAD_RECORDS,
      failed: BAD_RECORDS,
      pending: 0,
      scores: 3_000 - BAD_RECORDS,
      callbackRuns: [{ event: 'failure', callback: 'PublishPartialLeaderboard' }],
    },
    {
      status: 'complete',
      total: 3_000,
      complete: 3_000,
      failed: 0,
      pending: 0,
      scores: 3_000,
      callbackRuns: [{ event: 'complete', callback: 'PublishLeaderboard' }],
    },
  ]);
  expect(batches[0]?.facts.retried).toBeGreaterThan(0);
  expect(batches[0]?.failures).toMatchObject([{ error_class: 'MissingAdminCodeError', jobs: BAD_RECORDS }]);
});

test('the demo ends the same when its worker is killed in the middle', async () => {
  const { batches, ok, workersKilled } = await runDemo('--limit=20000', '--kill-worker');

  expect(ok).toBe(true);
  expect(workersKilled).toBe(1);
  expect(batches[0]?.facts).toMatchObject({
    status: 'failed',
    total: 20_000,
    complete: 20_000 - BAD_RECORDS,
    failed: BAD_RECORDS,
    pending: 0,
    callbackRuns: [{ event: 'failure' }],
  });
});

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('the demo stops its worker when it gets %s', async (signal, expectedExitCode) => {
  const demo = startDemo('--limit=50000');
  let output = '';
  demo.stderr.on('data', (text: Buffer) => (output += text.toString()));
  await eventually(() => expect(output).toContain('50,000 jobs'), 60_000);
  const workerPid = Number(/worker (\d+) are up/.exec(output)?.[1]);
  expect(isRunning(workerPid)).toBe(true);

  demo.kill(signal);

  expect((await demo).exitCode).toBe(expectedExitCode);
  expect(isRunning(workerPid)).toBe(false);
});

test('a worker ends by itself when the demo is killed', async () => {
  const demo = startDemo('--limit=50000');
  let output = '';
  demo.stderr.on('data', (text: Buffer) => (output += text.toString()));
  await eventually(() => expect(output).toContain('50,000 jobs'), 60_000);
  const workerPid = Number(/worker (\d+) are up/.exec(output)?.[1]);

  demo.kill('SIGKILL');

  await eventually(() => expect(isRunning(workerPid)).toBe(false), 20_000);
});

test('the demo leaves alone a schema that it did not make', async () => {
  const { exitCode, stderr } = await startDemo('--schema=public', '--limit=100');

  expect(exitCode).toBe(1);
  expect(stderr).toContain('The schema "public" exists and was not made by this demo');
});

test.each([
  ['--limit=0', 'at least 100'],
  ['--limit=many', 'at least 100'],
  ['--schema=Robert"; drop', 'lower-case Postgres identifier'],
])('the demo refuses %s', async (option, message) => {
  const { exitCode, stderr } = await startDemo(option);

  expect(exitCode).toBe(1);
  expect(stderr).toContain(message);
});
