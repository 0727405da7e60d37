import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import getPort from 'get-port';
import type { Knex } from 'knex';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { startTemporal } from '../../src/dev/index.ts';
import { readCompose, readText } from '../support/compose.ts';
import { eventually } from '../support/eventually.ts';
import { ownDatabase } from '../support/own-database.ts';

// The commands of docker-compose.yml and of its image, run without an engine, against servers of the test's own.
const root = fileURLToPath(new URL('../..', import.meta.url));
const { services } = readCompose();
const dockerfile = readText('examples/compose/Dockerfile');

let image: string;
beforeAll(async () => {
  image = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-compose-'));
  for (const [, source] of dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
    for (const entry of source!.split(' ')) {
      await cp(path.join(root, entry), path.join(image, entry), { recursive: true });
    }
  }
  await symlink(path.join(root, 'node_modules'), path.join(image, 'node_modules'));
  const [, build] = /^RUN npx (tsc .*)$/m.exec(dockerfile)!;
  await execa('npx', ['--no-install', ...build!.split(' ')], { cwd: image });
});
afterAll(() => rm(image, { recursive: true, force: true }));

/** A database and a Temporal of the test's own: the example has the names that everybody's have. */
async function ownServers(): Promise<{ knex: Knex; env: Record<string, string> }> {
  const {
    DATABASE_URL: _database,
    TEMPORAL_ADDRESS: _temporal,
    TEMPORAL_NAMESPACE: _namespace,
    ...env
  } = process.env;
  const temporal = await startTemporal({ env });
  onTestFinished(() => temporal.stop());
  const { url, knex } = await ownDatabase('compose');
  return { knex, env: { DATABASE_URL: url, TEMPORAL_ADDRESS: temporal.address } };
}

test('migrates, runs a worker that is healthy, and the app, and ends the worker by SIGTERM', async () => {
  const { knex, env } = await ownServers();
  const port = String(await getPort({ host: '127.0.0.1' }));
  const start = (service: string, more: Record<string, string> = {}) => {
    const [file, ...args] = services[service]!.command!;
    const child = execa(file!, args, { cwd: image, env: { ...env, ...more }, reject: false });
    onTestFinished(() => void child.kill('SIGKILL'));
    return child;
  };
  const [, ...check] = services['worker']!.healthcheck!.test.map((part) => part.replace(':8080', `:${port}`));
  const isHealthy = async () => (await execa(check[0]!, check.slice(1), { reject: false })).exitCode;

  for (const answer of ['applied  0001_create_batches', 'Up to date, nothing to apply.']) {
    expect(await start('migrate')).toMatchObject({ exitCode: 0, stdout: answer });
  }
  expect(await isHealthy()).toBe(1);
  const worker = start('worker', { HEALTH_PORT: port });
  await eventually(async () => expect(await isHealthy()).toBe(0), 40_000);
  expect(await start('app')).toMatchObject({ exitCode: 0 });
  expect(await knex('batch_progress').select('status', 'complete')).toEqual([
    { status: 'complete', complete: 3 },
  ]);

  worker.kill('SIGTERM');
  const { exitCode, stdout } = await worker;
  expect(exitCode).toBe(0);
  expect(stdout).toContain('scored 1');
  expect(await isHealthy()).toBe(1);
});
