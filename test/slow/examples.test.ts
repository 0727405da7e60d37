import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { execa, execaNode } from 'execa';
import knexFactory, { type Knex } from 'knex';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { migrate } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { compiledScript } from '../support/processes.ts';

// The programs of examples/recipes as they are, each in a process of its own, beside one worker.
const recipes = fileURLToPath(new URL('../../examples/recipes', import.meta.url));
const name = `examples_${randomBytes(6).toString('hex')}`;
const databaseUrl = withDatabase(inject('databaseUrl'), name);

let admin: Knex;
let database: Knex;
let worker: Running;
beforeAll(async () => {
  admin = knexFactory({ client: 'pg', connection: inject('databaseUrl') });
  await admin.raw('create database ??', [name]);
  database = knexFactory({ client: 'pg', connection: databaseUrl });
  await migrate(databaseUrl);
  await database.raw(await readFile(path.join(recipes, 'tables.sql'), 'utf8'));
  worker = start('worker.ts');
  await Promise.race([untilPolled(), worker.then(({ stderr }) => Promise.reject(new Error(stderr)))]);
});
afterAll(async () => {
  worker.kill('SIGKILL');
  await worker;
  await database.destroy();
  await admin.raw('drop database if exists ?? with (force)', [name]);
  await admin.destroy();
});

type Running = ReturnType<typeof start>;

/** A database of the test's own: an app's tables and the library's are in the schema `public`. */
function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = database;
  return changed.href;
}

/** Waits until the worker asks for work: bundling the workflows takes it seconds. */
async function untilPolled(): Promise<void> {
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  try {
    await eventually(async () => {
      const { pollers } = await connection.workflowService.describeTaskQueue({
        namespace: inject('temporalNamespace'),
        taskQueue: { name },
      });
      expect(pollers).not.toHaveLength(0);
    });
  } finally {
    await connection.close();
  }
}

function start(program: string, ...args: string[]) {
  return execaNode(compiledScript(`examples/recipes/${program}`), args, {
    nodeOptions: [],
    env: { DATABASE_URL: databaseUrl, TEMPORAL_ADDRESS: inject('temporalAddress'), TASK_QUEUE: name },
    stdin: 'ignore',
    reject: false,
  });
}

/** What a program prints, line by line. It ends by itself, with exit code 0 and without a warning. */
async function run(program: string, ...args: string[]): Promise<string[]> {
  const running = start(program, ...args);
  onTestFinished(() => void running.kill('SIGKILL'));
  const { exitCode, stderr, stdout } = await running;
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return stdout.split('\n');
}

const unique = (prefix: string) => `${prefix}-${randomBytes(4).toString('hex')}`;

describe('file-import', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-import-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Lines of which the first is no product, and the others are. */
  function linesOf(file: string, count: number): string {
    const sku = path.basename(file, '.csv');
    const products = Array.from({ length: count - 1 }, (_, index) => `${sku}-${index},Chair ${index},9.50`);
    return ['a line that is no product', ...products, ''].join('\n');
  }

  test('imports each line once, says which is wrong, and records once how it ended', async () => {
    const file = path.join(folder, `${unique('products')}.csv`);
    await writeFile(file, linesOf(file, 200));
    const base = path.basename(file);
    const told = [`${base}: complete, 199 of 200 lines imported, 1 refused`];
    told.push('Line 1 is no product: a line that is no product');

    expect(await run('file-import/app.ts', file)).toEqual(told);
    // Once more, as somebody who is not sure does: the batch is the same.
    expect(await run('file-import/app.ts', file)).toEqual(told);

    expect(await database('products').whereLike('sku', `${path.basename(file, '.csv')}%`)).toHaveLength(199);
    expect(await database('imports').where({ file: base })).toEqual([
      { file: base, status: 'complete', lines: 200, failed: 1 },
    ]);
  });

  test('goes on with the batch of a program that was killed while it enrolled', async () => {
    const file = path.join(folder, `${unique('products')}.csv`);
    const batchId = `import-${path.basename(file)}`;
    // A pipe that does not end: so the program is in its block when it is killed.
    await execa('mkfifo', [file]);
    const pipe = await open(file, 'r+');
    const first = start('file-import/app.ts', file);
    onTestFinished(() => void first.kill('SIGKILL'));
    await pipe.write(linesOf(file, 1_200));
    await eventually(async () => {
      expect(await database('batch_jobs').where({ batch_id: batchId }).select('position')).not.toEqual([]);
    });
    first.kill('SIGKILL');
    await first;
    await pipe.close();
    await rm(file);
    await writeFile(file, linesOf(file, 2_000));

    const [line] = await run('file-import/app.ts', file);

    expect(line).toBe(`${path.basename(file)}: complete, 1999 of 2000 lines imported, 1 refused`);
    expect(await database('imports').where({ file: path.basename(file) })).toHaveLength(1);
  });
});

test('nightly-mails sends one mail to each user, at the rate that is allowed, though it is started twice', async () => {
  const night = '2126-11-24';
  const users = Array.from({ length: 60 }, (_, index) => String(index + 1));
  const args = [night, ...users, '-7'];

  const both = await Promise.all([
    run('nightly-mails/app.ts', ...args),
    run('nightly-mails/app.ts', ...args),
  ]);

  const told = [`${night}: failed, 60 sent, 1 not`];
  expect(both).toEqual([told, told]);
  const sent = await database('sent_mails').orderBy('sent_at').select('user_id', 'sent_at');
  expect(sent.map(({ user_id }) => user_id).toSorted((a, b) => a - b)).toEqual(users.map(Number));
  // 60 mails at 20 a second: the first at once, the last not before 2 s are nearly over.
  expect(sent.at(-1).sent_at - sent[0].sent_at).toBeGreaterThan(1_800);
  expect(await database('unsent_mails')).toEqual([{ night, user_id: -7 }]);
});

test('chain ranks the regions after all games are scored, and publishes once', async () => {
  const id = unique('games');

  expect(await run('chain/app.ts', id)).toEqual(['Rank the regions: complete, 4 regions']);

  expect(await database('publications')).toEqual([{ batch_id: `${id}:ranking`, winners: 4 }]);
  const winners = await database('winners')
    .join('scores', 'winners.game_id', 'scores.game_id')
    .pluck('points');
  // The best have scored six goals: of every region's games there is one in seven.
  expect(winners).toEqual([18, 18, 18, 18]);
});

test('retry-after-fix says why jobs failed, and runs those alone again once the cause is mended', async () => {
  const id = unique('prices');
  await database('exchange_rates').insert({ currency: 'USD', euros: 0.9 });

  expect(await run('retry-after-fix/app.ts', id)).toEqual([
    `${id}: failed, 3 failed`,
    '3 × UnknownCurrency: No exchange rate for NOK',
  ]);
  await database('exchange_rates').insert({ currency: 'NOK', euros: 0.085 });

  expect(await run('retry-after-fix/retry.ts', id)).toEqual([
    'round 1: failed, 27 complete, 3 failed',
    'round 2: complete, 30 complete, 0 failed',
  ]);
  expect(await database('converted_prices')).toHaveLength(30);
  const again = await database('job_rounds').where({ batch_id: id, round: 2 });
  expect(again).toHaveLength(3);
});
