import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { overviewsOf } from '../../src/database/overview.ts';
import { openDatabase } from '../../src/database/connect.ts';
import type { BatchOptions } from '../../src/index.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { runCli, type CliOptions } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const { gate, jobs: gated } = createGates();

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    maxConcurrentJobs: 10,
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gated)],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

const NOWHERE = { TEMPORAL_ADDRESS: '127.0.0.1:1' };

function cli(words: string, options?: CliOptions) {
  return runCli([...words.split(' '), '--schema', world.schema], options);
}

async function json(words: string, options?: CliOptions) {
  const { exitCode, stdout, stderr } = await cli(`${words} --json`, options);
  return { exitCode, stderr, value: stdout === '' ? undefined : JSON.parse(stdout) };
}

/** A batch whose jobs go on until it is cancelled. */
async function runningBatch(jobs: number, options: Partial<BatchOptions> = {}) {
  const batch = await createBatch(world, options);
  await batch.jobs(async () => {
    for (let i = 0; i < jobs; i++) await world.fixtures.jobs.work.performAsync(i, 600_000);
  });
  return batch;
}

let gatesUsed = 0;

/** A batch whose jobs wait at gates that are opened in this order: so many at each. */
async function heldBatch(jobs: readonly number[], options: Partial<BatchOptions> = {}) {
  const batch = await createBatch(world, options);
  const names = jobs.map(() => `gate-${++gatesUsed}`);
  await batch.jobs(async () => {
    for (const [index, count] of jobs.entries())
      for (let i = 0; i < count; i++) await gated.pass.performAsync(names[index]!);
  });
  return { batch, gates: names.map(gate) };
}

async function failedBatch(options: Partial<BatchOptions> = {}) {
  const { batch } = await runBatch(
    world,
    async (jobs) => {
      await jobs.record.performAsync('fine');
      await jobs.failForGood.performAsync('a');
      await jobs.failByType.performAsync('b');
      for (let i = 0; i < 4; i++) await jobs.failForGood.performAsync('c');
    },
    options,
  );
  return batch;
}

/** Rows of batches that were created at the same moment, so many minutes ago, without workflows. */
async function rowsAlone(
  ids: readonly string[],
  minutesAgo: number,
  description = 'Rows alone',
): Promise<void> {
  await world.knex.raw(
    `insert into ??.batches (id, first_execution_run_id, description, created_at)
     select id, 'run', ?, now() - ? * interval '1 minute' from unnest(?::text[]) id`,
    [world.schema, description, minutesAgo, [...ids]],
  );
}

describe('batch-jobs list', () => {
  test('shows batches, newest first, and those of a status, an age, a description or a parent', async () => {
    const parent = await runningBatch(1, { id: 'list-running', description: 'Import of LISTED things' });
    await rowsAlone(['list-old'], 60 * 24 * 9, 'Listed long ago');
    await world.knex.raw(`update ??.batches set parent_batch_id = ? where id = 'list-old'`, [
      world.schema,
      parent.id,
    ]);

    const listed = await json('list --description listed', { env: NOWHERE });
    expect(listed.exitCode).toBe(0);
    expect(listed.value.batches.map(({ id }: { id: string }) => id)).toEqual(['list-running', 'list-old']);
    expect(listed.value.next).toBeNull();
    const idsOf = async (words: string) =>
      (await json(`list --description listed ${words}`)).value.batches.map(({ id }: { id: string }) => id);
    expect(await idsOf('--status running complete')).toEqual(['list-running']);
    expect(await idsOf('--newer-than 8d')).toEqual(['list-running']);
    expect(await idsOf('--older-than 8d')).toEqual(['list-old']);
    expect(await idsOf(`--parent ${parent.id}`)).toEqual(['list-old']);
    expect(await idsOf('--older-than 30d')).toEqual([]);

    const { stdout } = await cli('list --description listed');
    const [head, first, second] = stdout.split('\n');
    expect(head).toMatch(/^id +status +done +jobs +failed +created +description$/);
    expect(first).toMatch(
      /^list-running +running +0 % +1 +0 +\d+ (s|min)( \d+ s)? ago +Import of LISTED things$/,
    );
    expect(second).toMatch(/^list-old +pending +0 +0 +9 d ago +Listed long ago$/);
    await parent.cancel();
  });

  test('pages through batches of the same moment, and leaves none out', async () => {
    const ids = Array.from({ length: 7 }, (_, i) => `page-${i}`);
    await rowsAlone(ids, 60 * 24 * 30, 'Paged');
    const found: string[] = [];
    let after: string | null = '';
    while (after !== null) {
      const { value }: Awaited<ReturnType<typeof json>> = await json(
        `list --description paged --limit 3${after && ` --after ${after}`}`,
      );
      found.push(...value.batches.map(({ id }: { id: string }) => id));
      after = value.next;
    }
    expect(found).toEqual(ids);
    const { stdout } = await cli('list --description paged --limit 3');
    expect(stdout).toContain('There are more: --after page-2');
    expect((await cli('list --description paged --after page-6')).stdout).toBe('No batch.\n');
  });
});

describe('batch-jobs status', () => {
  test('shows where a batch stands, by its rows alone', async () => {
    const batch = await runningBatch(3, { description: 'Slow work', maxConcurrentJobs: 2 });
    const { exitCode, stdout } = await cli(`status ${batch.id}`, { env: NOWHERE });
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`${batch.id} "Slow work"`);
    expect(stdout).toMatch(/^status +running$/m);
    expect(stdout).toMatch(/^jobs +0 of 3 complete, 3 pending, 0 %$/m);
    expect(stdout).toMatch(/^limits +2 at once$/m);
    expect(stdout).toMatch(/^callback +OnFailure on failure: registered$/m);
    const { value } = await json(`status ${batch.id}`);
    expect(value).toMatchObject({ id: batch.id, status: 'running', total: 3, pending: 3, settledAt: null });
    await batch.cancel();
  });

  test('says what to do next about failed jobs, and is no failure itself', async () => {
    const batch = await failedBatch();
    const { exitCode, stdout } = await cli(`status ${batch.id}`);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^status +failed$/m);
    expect(stdout).toContain(`batch-jobs failed ${batch.id}`);
  });

  test('--watch follows a batch to its end, and ends with its outcome', async () => {
    const { batch, gates } = await heldBatch([2, 2], { maxConcurrentJobs: 2 });
    const { exitCode, stdout, stderr } = await cli(`status ${batch.id} --watch`, {
      env: NOWHERE,
      // It goes on once it has been seen where it stands.
      onStdout: (text) => {
        if (text.startsWith('    0 %')) gates[0]!.open();
        if (text.startsWith('   50 %')) gates[1]!.open();
      },
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    expect(lines.length).toBeGreaterThanOrEqual(4);
    expect(lines[0]).toContain(batch.id);
    expect(lines[1]).toMatch(/^ {4}0 % {2}0 of 4 complete, 4 pending, /);
    expect(lines.at(-1)).toMatch(/is complete after \d+ s: 4 of 4 complete\.$/);
    expect(await world.ledger.of(batch.id, 'callback')).toHaveLength(2);
  });

  test.each([
    { outcome: 'failed', jobs: 1 },
    { outcome: 'cancelled', jobs: 0 },
  ])('--watch ends with 1 for a batch that is $outcome', async ({ outcome, jobs }) => {
    const batch = await createBatch(world);
    if (outcome === 'cancelled') await batch.cancel({ reason: 'not needed' });
    else await batch.jobs(() => world.fixtures.jobs.failForGood.performAsync(1));
    const { exitCode, stdout, stderr } = await cli(`status ${batch.id} --watch`);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
    expect(stdout).toContain(`is ${outcome}${jobs === 0 ? ' (not needed)' : ''} after`);
    expect(stdout.includes(`batch-jobs failed ${batch.id}`)).toBe(jobs > 0);
  });

  test('--watch --json prints a line for each change, the outcome last', async () => {
    const { batch, gates } = await heldBatch([2], { maxConcurrentJobs: 1 });
    const { exitCode, stdout } = await cli(`status ${batch.id} --watch --json`, {
      onStdout: () => gates[0]!.open(),
    });
    expect(exitCode).toBe(0);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({ status: 'running', pending: 2 });
    expect(lines.at(-1)).toMatchObject({ status: 'complete', complete: 2, pending: 0 });
  });

  test('--watch says when the batch goes away meanwhile', async () => {
    await rowsAlone(['goes-away'], 1);
    const watching = cli('status goes-away --watch');
    await world.knex.raw(`delete from ??.batches where id = 'goes-away'`, [world.schema]);
    expect(await watching).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('[BATCH_NOT_FOUND]: Batch "goes-away" does not exist'),
    });
  });

  test('reads one row of batches by its key for each tick, and none of jobs', async () => {
    const database = openDatabase(world.knex, { schema: world.schema });
    const query = overviewsOf(database, 'some-batch').toSQL();
    await world.knex.transaction(async (trx) => {
      // The table is too small for the planner to want an index.
      await trx.raw('set local enable_seqscan = off');
      const { rows } = await trx.raw(`explain (format json) ${query.sql}`, query.bindings as string[]);
      const plan = JSON.stringify(rows[0]['QUERY PLAN']);
      expect(plan).toContain('batches_pkey');
      expect(plan).not.toContain('Seq Scan');
      expect(plan).not.toContain('"Relation Name":"batch_jobs"');
    });
  });
});

describe('batch-jobs failed', () => {
  test('groups failed jobs by class and message of their error, the commonest first', async () => {
    const batch = await failedBatch();
    const { exitCode, stdout } = await cli(`failed ${batch.id}`, { env: NOWHERE });
    expect(exitCode).toBe(0);
    expect(stdout).toBe(
      [
        `6 of 7 jobs of batch ${batch.id} failed.`,
        '',
        '4 jobs  HopelessError: c cannot succeed',
        `  ${batch.id}/4  FailForGood  1 attempt`,
        `  ${batch.id}/5  FailForGood  1 attempt`,
        `  ${batch.id}/6  FailForGood  1 attempt`,
        '  and 1 more',
        '',
        '1 job  HopelessError: a cannot succeed',
        `  ${batch.id}/2  FailForGood  1 attempt`,
        '',
        '1 job  BrokenError: b is broken',
        `  ${batch.id}/3  FailByType  1 attempt`,
        '',
      ].join('\n'),
    );
    const limited = await cli(`failed ${batch.id} --args --limit 1 --samples 1`);
    expect(limited.stdout).toContain(`  ${batch.id}/4  FailForGood("c")  1 attempt\n  and 3 more\n`);
    expect(limited.stdout).toContain('There are 2 more kinds: --limit 3');
    const { value } = await json(`failed ${batch.id} --samples 1 --args --limit 2`);
    const errorStack = expect.stringMatching(/^ApplicationFailure: . cannot succeed\n\s+at /) as string;
    expect(value).toEqual({
      id: batch.id,
      failed: 6,
      failureReason: null,
      enrollmentError: null,
      groups: [
        {
          errorClass: 'HopelessError',
          errorMessage: 'c cannot succeed',
          jobs: 4,
          samples: [
            { jid: `${batch.id}/4`, workerClass: 'FailForGood', attempts: 1, args: ['c'], errorStack },
          ],
        },
        {
          errorClass: 'HopelessError',
          errorMessage: 'a cannot succeed',
          jobs: 1,
          samples: [
            { jid: `${batch.id}/2`, workerClass: 'FailForGood', attempts: 1, args: ['a'], errorStack },
          ],
        },
      ],
      omittedGroups: 1,
    });
    expect((await json(`failed ${batch.id}`)).value.groups[0].samples[0]).not.toHaveProperty('args');
  });

  test('says that no job has failed, and that the block broke', async () => {
    const batch = await createBatch(world);
    const broken = batch.jobs(async () => {
      await world.fixtures.jobs.record.performAsync(1);
      throw new Error('no more lines');
    });
    await expect(broken).rejects.toThrow('no more lines');
    await batch.wait({ timeout: PATIENCE });
    const { exitCode, stdout } = await cli(`failed ${batch.id}`);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`No job of batch ${batch.id} has failed.\nIts block broke: `);
    expect(stdout).toContain('no more lines');
  });
});

describe('batch-jobs jobs', () => {
  test('lists jobs in the order of enrolment, by status and name, page by page', async () => {
    const batch = await failedBatch();
    const { exitCode, stdout } = await cli(`jobs ${batch.id} --limit 2 --args`, { env: NOWHERE });
    expect(exitCode).toBe(0);
    const [head, first, second] = stdout.split('\n');
    expect(head).toMatch(/^position +name +status +attempts +took +arguments +error$/);
    expect(first).toMatch(/^ +1 +Record +complete +1 +[\d,]+ ms +"fine"$/);
    expect(second).toMatch(/^ +2 +FailForGood +failed +1 +[\d,]+ ms +"a" +HopelessError: a cannot succeed$/);
    expect(stdout).toContain('There are more: --after 2');
    const positionsOf = async (words: string) =>
      (await json(`jobs ${batch.id} ${words}`)).value.jobs.map(
        ({ position }: { position: number }) => position,
      );
    expect(await positionsOf('--after 5')).toEqual([6, 7]);
    expect(await positionsOf('--status complete')).toEqual([1]);
    expect(await positionsOf('--status failed --after 2 --limit 2')).toEqual([3, 4]);
    expect(await positionsOf('--name FailByType')).toEqual([3]);
    const { value } = await json(`jobs ${batch.id} --after 6`);
    expect(value).toMatchObject({ id: batch.id, next: null });
    expect(value.jobs[0]).toMatchObject({
      jid: `${batch.id}/7`,
      status: 'failed',
      errorClass: 'HopelessError',
    });
    expect(value.jobs[0]).not.toHaveProperty('args');
    expect((await cli(`jobs ${batch.id} --status pending`)).stdout).toBe('No job.\n');
  });
});

describe('batch-jobs wait', () => {
  test('waits for the end of a batch and its callbacks, and ends with its outcome', async () => {
    const batch = await createBatch(world);
    await batch.jobs(() => world.fixtures.jobs.work.performAsync(1, 1_200));
    const timeout = `${Math.round(PATIENCE)}ms`;
    const { exitCode, stdout } = await cli(`wait ${batch.id} --timeout ${timeout}`, { env: NOWHERE });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/is complete after \d+ s: 1 of 1 complete\.\n$/);
    expect(await world.ledger.of(batch.id, 'callback')).toHaveLength(2);
    const failed = await json(`wait ${(await failedBatch()).id}`);
    expect(failed).toMatchObject({ exitCode: 1, value: { status: 'failed', failed: 6 } });
  });

  test('gives up in time, with a line that says how far the batch is', async () => {
    const batch = await runningBatch(2);
    const { exitCode, stdout, stderr } = await cli(`wait ${batch.id} --timeout 200ms`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toBe(
      `error [WAIT_TIMED_OUT]: Batch "${batch.id}" has not ended after 0.2 s: it is running, 2 of 2 jobs are pending. ` +
        `It goes on; \`batch-jobs doctor ${batch.id}\` says what to do.\n`,
    );
    await batch.cancel();
  });
});

describe('a command that changes a batch', () => {
  test('asks first on a terminal, and changes nothing unless the answer is yes', async () => {
    const batch = await runningBatch(2, { description: 'Asked for' });
    const declined = await cli(`cancel ${batch.id}`, { answer: 'n\n' });
    expect(declined).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: `Cancel batch ${batch.id} "Asked for"? 2 of 2 jobs have not ended, and never will. [y/N] Nothing was changed.\n`,
    });
    expect((await batch.progress()).status).toBe('running');
    const accepted = await cli(`cancel ${batch.id} --reason over --grace-period 1s`, { answer: 'y\n' });
    expect(accepted).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('is cancelled') });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });
    expect(batch.stopReason).toBe('over');
  });

  test('pauses and resumes', async () => {
    const { batch, gates } = await heldBatch([30]);
    expect(await json(`pause ${batch.id} --yes`)).toMatchObject({
      exitCode: 0,
      value: { id: batch.id, action: 'pause' },
    });
    const paused = await eventually(async () => {
      const { stdout } = await cli(`status ${batch.id}`);
      expect(stdout).toMatch(/^status +paused$/m);
      return stdout;
    });
    expect(paused).toMatch(new RegExp(`^batch-jobs resume ${batch.id} {3}lets it go on\\.$`, 'm'));
    expect((await cli(`resume ${batch.id} --yes`)).exitCode).toBe(0);
    gates[0]!.open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });

  test('updates policy and limits', async () => {
    const { batch, gates } = await heldBatch([20], { maxConcurrentJobs: 1, jobLimits: { Pass: {} } });
    const { exitCode, stdout } = await cli(
      `update ${batch.id} --yes --max-concurrent-jobs none --fail-when-failed 5% --deadline 1h --job-limit Pass.maxConcurrentJobs=8`,
    );
    expect({ exitCode, stdout }).toEqual({
      exitCode: 0,
      stdout: `Batch ${batch.id} has failWhenFailed more than 5%, deadline 1h, maxConcurrentJobs none, jobLimits {"Pass":{"maxConcurrentJobs":8}}.\n`,
    });
    await eventually(async () =>
      expect((await json(`status ${batch.id}`)).value).toMatchObject({
        failWhenFailed: 'more than 5%',
        limits: { jobLimits: { Pass: { maxConcurrentJobs: 8 } } },
        deadlineAt: expect.any(String),
      }),
    );
    const status = await cli(`status ${batch.id}`);
    expect(status.stdout).toMatch(/^limits +Pass: 8 at once$/m);
    expect(status.stdout).toMatch(/^fails +when more than 5% of its jobs fail$/m);
    gates[0]!.open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });

  test('runs failed jobs again, on the task queue of their batch', async () => {
    const batch = await failedBatch();
    const { exitCode, value } = await json(`retry-failed ${batch.id} --yes --max-concurrent-jobs 2`);
    expect({ exitCode, value }).toEqual({
      exitCode: 0,
      value: { id: batch.id, action: 'retry-failed', round: 2, queued: false },
    });
    await eventually(async () => expect((await batch.reload()).settledAt).not.toBeNull());
    expect(batch.round).toBe(2);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 6 });
    const none = await cli(
      `retry-failed ${(await runBatch(world, (jobs) => jobs.noop.performAsync(1))).batch.id} --yes`,
    );
    expect(none).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^error \[NOTHING_TO_RETRY\]: .*\n$/),
    });
  });

  test('does not guess a task queue that Temporal has forgotten', async () => {
    await rowsAlone(['forgotten'], 60);
    expect(await cli('retry-failed forgotten --yes')).toEqual({
      exitCode: 2,
      stdout: '',
      stderr:
        'error: Temporal keeps no workflow of batch forgotten any more, so that its task queue is not known. Give --task-queue.\n',
    });
  });

  test('is refused in one line once the batch has settled', async () => {
    const batch = await failedBatch();
    for (const verb of ['cancel', 'pause', 'resume', 'update --per-second 5']) {
      const [command, ...flags] = verb.split(' ');
      const { exitCode, stdout, stderr } = await cli([command, batch.id, '--yes', ...flags].join(' '));
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
      expect(stderr).toMatch(/^error \[BATCH_SETTLED\]: .*\n$/);
    }
  });

  test('says in one line that Temporal does not answer, or has no such namespace', async () => {
    await rowsAlone(['unreachable'], 1);
    const unreachable = await cli('pause unreachable --yes', { env: NOWHERE });
    expect(unreachable).toMatchObject({ exitCode: 1, stdout: '' });
    expect(unreachable.stderr).toMatch(
      /^error \[TEMPORAL_UNAVAILABLE\]: Temporal does not answer at 127\.0\.0\.1:1: .*\n$/,
    );
    const elsewhere = await cli('pause unreachable --yes --namespace not-there');
    expect(elsewhere).toMatchObject({ exitCode: 1, stdout: '' });
    expect(elsewhere.stderr).toMatch(
      /^error \[NAMESPACE_UNKNOWN\]: Temporal at .* has no namespace "not-there"\. Check --namespace.*\n$/,
    );
  });
});

describe('batch-jobs dev', () => {
  test('uses servers that are named, and leaves them', async () => {
    const { exitCode, value } = await json('dev');
    expect(exitCode).toBe(0);
    expect(value).toMatchObject({
      databaseUrl: inject('databaseUrl'),
      temporalAddress: inject('temporalAddress'),
    });
    await world.knex.raw('select 1');
  });

  test.each([
    { env: { TEMPORAL_ADDRESS: '127.0.0.1:1' }, says: 'TEMPORAL_UNAVAILABLE' },
    { env: { DATABASE_URL: 'postgres://127.0.0.1:1/none' }, says: 'DATABASE_UNAVAILABLE' },
  ])('says in one line that a server that is named does not answer: $says', async ({ env, says }) => {
    const { exitCode, stdout, stderr } = await cli('dev', { env });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(
      new RegExp(`^error \\[${says}\\]: .*127\\.0\\.0\\.1:1`),
    );
  });
});

test('commands that look need no right but to read the views and the list of migrations', async () => {
  const batch = await failedBatch();
  const role = `reader_${world.schema}`;
  const url = new URL(inject('databaseUrl'));
  Object.assign(url, { username: role, password: 'secret' });
  await world.knex.raw(
    `create role :role: login password 'secret';
     grant usage on schema :schema: to :role:;
     grant select on :schema:.batch_progress, :schema:.failed_jobs, :schema:.jobs, :schema:.batch_jobs_migrations to :role:`
      .replaceAll(':role:', role)
      .replaceAll(':schema:', world.schema),
  );
  onTestFinished(() => world.knex.raw(`drop owned by ${role}; drop role ${role}`).then(() => {}));
  const env = { ...NOWHERE, DATABASE_URL: url.href };
  for (const words of ['list', `status ${batch.id}`, `failed ${batch.id}`, `jobs ${batch.id}`])
    expect(await cli(words, { env })).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await cli(`wait ${batch.id}`, { env })).toMatchObject({ exitCode: 1, stderr: '' });
});

const WITH_ID = [
  'status',
  'status --watch',
  'failed',
  'jobs',
  'wait',
  'cancel --yes',
  'pause --yes',
  'resume --yes',
  'retry-failed --yes',
  'update --yes --per-second 5',
];

test.each([...WITH_ID, 'list --after'])(
  '`%s` says in one line that it does not know a batch, before it asks Temporal',
  async (words) => {
    const [command, ...flags] = words.split(' ');
    const { exitCode, stdout, stderr } = await cli([command, ...flags, 'no-such-batch'].join(' '), {
      env: NOWHERE,
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(/^error \[BATCH_NOT_FOUND\]: Batch "no-such-batch" does not exist.*\n$/);
  },
);

test.each([...WITH_ID.map((words) => `${words} some-batch`), 'list'])(
  '`%s` says in one line that migrations are missing',
  async (words) => {
    const { exitCode, stdout, stderr } = await runCli([...words.split(' '), '--schema', 'not_migrated'], {
      env: NOWHERE,
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(
      /^error \[MIGRATIONS_PENDING\]: .*npx batch-jobs migrate --schema not_migrated\n$/,
    );
  },
);
