import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client } from '@temporalio/client';
import type { Payload } from '@temporalio/common';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { BatchClient, defineJob, type Batch } from '../../src/index.ts';
import { failureConverterPath } from '../../src/worker/index.ts';
import { runCli } from '../support/cli.ts';
import { dataConverter, ENCODING, payloadsOf, startCodecServer, type CodecServer } from '../support/codec.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { bundleWorkflows } from '../support/workflow-bundle.ts';
import { createWorld, type World } from '../support/world.ts';

const KEY = 'Bearer key-of-the-codec-server';

let isMended = false;
const failsUntilMended = defineJob(
  'FailsUntilMended',
  async () => {
    if (!isMended) throw new Error('broken');
  },
  { retry: { maximumAttempts: 1 } },
);

let world: World;
let client: Client;
let batches: BatchClient;
let server: CodecServer;
let folder: string;

beforeAll(async () => {
  world = await createWorld();
  server = await startCodecServer(KEY);
  folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-codec-'));
  const { knex: database, schema, taskQueue } = world;
  client = new Client({ connection: world.client.connection, dataConverter });
  batches = new BatchClient({ client, database, schema, taskQueue });
  await world.startWorker({
    jobs: [failsUntilMended],
    workflowBundle: { codePath: await bundleWorkflows(folder, { failureConverterPath }) },
    workerOptions: { dataConverter },
  });
});
beforeEach(() => void (server.requests.length = 0));
afterAll(async () => {
  await batches.close();
  await world[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

const cli = (words: string, env: NodeJS.ProcessEnv = {}) =>
  runCli([...words.split(' '), '--schema', world.schema], { env });
const withCodec = (words: string) =>
  cli(`${words} --codec-endpoint ${server.endpoint}`, { TEMPORAL_CODEC_AUTH: KEY });
const openBatch = (): Promise<Batch> =>
  batches.create({ description: 'Encrypted', context: { a: 1 }, autoSeal: false });

async function checkHidden({ id }: Batch): Promise<void> {
  const history = await client.workflow.getHandle(`batch:${id}`).fetchHistory();
  const shown = payloadsOf(history).filter(
    ({ encoding, path: where }) => encoding !== ENCODING && !where.startsWith('markerRecorded'),
  );
  expect(shown).toEqual([]);
}

describe('with --codec-endpoint', () => {
  test('pause, resume, update and cancel change a batch, in payloads that are encoded', async () => {
    const batch = await openBatch();
    expect(await withCodec(`pause ${batch.id} --yes`)).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: `Batch ${batch.id} is paused.\n`,
    });
    expect((await batch.reload()).pausedAt).not.toBeNull();

    expect(await withCodec(`resume ${batch.id} --yes`)).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await batch.reload()).pausedAt).toBeNull();
    expect(await withCodec(`update ${batch.id} --yes --per-second 7`)).toMatchObject({ exitCode: 0 });
    expect(await withCodec(`cancel ${batch.id} --yes`)).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await batch.wait({ timeout: PATIENCE })).status).toBe('cancelled');
    expect(new Set(server.requests.map(({ path: asked }) => asked))).toEqual(new Set(['/encode', '/decode']));
    const namespaces = server.requests.map(({ headers }) => headers['x-namespace']);
    expect(new Set(namespaces)).toEqual(new Set([client.options.namespace]));
    await checkHidden(batch);
  });

  test('retry-failed runs failed jobs again, and tells the workers in payloads that are encoded', async () => {
    const batch = await batches.create({ description: 'Encrypted' });
    await batch.jobs(() => failsUntilMended.performAsync());
    expect((await batch.wait({ timeout: PATIENCE })).status).toBe('failed');
    isMended = true;
    expect(await withCodec(`retry-failed ${batch.id} --yes`)).toMatchObject({ exitCode: 0, stderr: '' });
    expect((await batch.wait({ timeout: PATIENCE })).status).toBe('complete');
    await checkHidden(batch);
  });

  test('the doctor reads what the workflow says of its block', async () => {
    const batch = await openBatch();
    // A worker that is busy does not answer in time.
    await eventually(async () => {
      const { stdout } = await withCodec(`doctor ${batch.id} --json`);
      const codes = (JSON.parse(stdout) as { findings: { code: string }[] }).findings.map(({ code }) => code);
      expect(codes).toContain('BLOCK_OPEN');
      expect(codes).not.toContain('PAYLOADS_ENCODED');
    });
    await batch.cancel();
  });

  test('a codec server that refuses is named with its answer, and nothing is changed', async () => {
    const batch = await openBatch();
    const refused = await cli(
      `pause ${batch.id} --yes --codec-endpoint ${server.endpoint} --codec-auth wrong`,
    );
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
    expect(refused.stderr).toBe(
      `error [CODEC_UNAVAILABLE]: The codec server at ${server.endpoint}/decode answered 403 Forbidden: who are you?. ` +
        'Check --codec-auth and TEMPORAL_CODEC_AUTH.\n',
    );
    expect((await batch.reload()).pausedAt).toBeNull();
    const doctor = await cli(`doctor ${batch.id} --codec-endpoint ${server.endpoint} --codec-auth wrong`);
    expect(doctor.stdout).toContain('answered 403 Forbidden');
    await batch.cancel();
  });

  test('a codec server that cannot read the payloads is told apart', async () => {
    // Encoded by something that the server does not know: it lets that pass.
    const other = { payloadCodecs: [{ encode: otherwise, decode: async (payloads: Payload[]) => payloads }] };
    const handle = await new Client({ connection: client.connection, dataConverter: other }).workflow.start(
      'batch',
      {
        workflowId: 'batch:other-codec',
        taskQueue: `${world.taskQueue}-none`,
        args: [{}],
      },
    );
    await world.knex.raw(
      `insert into ??.batches (id, first_execution_run_id, description) values ('other-codec', 'run', 'Other')`,
      [world.schema],
    );
    const refused = await withCodec('pause other-codec --yes');
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
    expect(refused.stderr).toMatch(
      /^error \[CODEC_MISMATCH\]: .*encoded as binary\/other.*does not decode them/,
    );
    await handle.terminate();
  });
});

async function otherwise(payloads: Payload[]): Promise<Payload[]> {
  return payloads.map(() => ({
    metadata: { encoding: Buffer.from('binary/other') },
    data: Buffer.from('x'),
  }));
}

describe('without it', () => {
  test.each(['pause', 'resume', 'cancel', 'update --per-second 5', 'retry-failed'])(
    '`%s` names what is missing, and changes nothing',
    async (words) => {
      const batch = await openBatch();
      const [command, ...flags] = words.split(' ');
      const before = await messagesOf(batch);
      const refused = await cli([command, batch.id, ...flags, '--yes'].join(' '));
      expect(refused).toMatchObject({ exitCode: 1, stdout: '' });
      expect(refused.stderr).toBe(
        `error [CODEC_MISMATCH]: The payloads of batch "${batch.id}" are encoded as binary/test, which this command ` +
          'cannot read. Pass --codec-endpoint, or set TEMPORAL_CODEC_ENDPOINT, to the codec server of the app. ' +
          'Nothing was changed.\n',
      );
      expect(await messagesOf(batch)).toBe(before);
      await batch.cancel();
    },
  );

  test('the doctor says what it cannot read, and what it sees all the same', async () => {
    const batch = await openBatch();
    const { stdout, stderr } = await cli(`doctor ${batch.id}`);
    expect(stderr).toBe('');
    expect(stdout).toContain(
      '… The payloads of the batch are encoded as binary/test, and the doctor cannot read them.',
    );
    expect(stdout).toContain('Pass --codec-endpoint');
    expect(stdout).not.toContain('Temporal does not answer');
    await batch.cancel();
  });

  test('the schedule of a prune that is encoded is left alone', async () => {
    const { scheduleId } = await batches.schedulePrune({ olderThan: '30 days' });
    const refused = await runCli(['prune', '--unschedule', '--schedule-id', scheduleId]);
    expect(refused.stderr).toContain('[CODEC_MISMATCH]');
    expect(await batches.unschedulePrune()).toBe(true);
  });
});

/** Messages that the batch's workflow has got. */
async function messagesOf({ id }: Batch): Promise<number> {
  const { events } = await client.workflow.getHandle(`batch:${id}`).fetchHistory();
  return events!.filter(
    (event) =>
      event.workflowExecutionSignaledEventAttributes ?? event.workflowExecutionUpdateAcceptedEventAttributes,
  ).length;
}
