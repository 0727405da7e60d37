import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startPostgres, startTemporal } from '../../src/dev/index.ts';
import { environmentValue } from '../../src/dev/options.ts';
import { findTemporalBinary, temporalCacheDir } from '../../src/dev/temporal-binary.ts';

async function setup() {
  const folder = await mkdtemp(path.join(tmpdir(), 'dev-options-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const createFile = async (name: string, mode = 0o755): Promise<string> => {
    const file = path.join(folder, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, '');
    await chmod(file, mode);
    return file;
  };
  const find = (env: NodeJS.ProcessEnv) =>
    findTemporalBinary({ env: { XDG_CACHE_HOME: path.join(folder, 'cache'), ...env }, log: () => {} });
  return { folder, createFile, find };
}

test('prefers TEMPORAL_CLI_PATH to a program on the PATH', async () => {
  const { folder, createFile, find } = await setup();
  const chosen = await createFile('elsewhere/temporal');
  await createFile('bin/temporal');

  expect(await find({ TEMPORAL_CLI_PATH: chosen, PATH: path.join(folder, 'bin') })).toBe(chosen);
});

test('refuses a TEMPORAL_CLI_PATH that cannot be run, whatever else is there', async () => {
  const { folder, createFile, find } = await setup();
  await createFile('bin/temporal');

  const finding = find({ TEMPORAL_CLI_PATH: '/nowhere/temporal', PATH: path.join(folder, 'bin') });

  await expect(finding).rejects.toMatchObject({
    code: 'DEV_SERVER',
    message: expect.stringContaining('"/nowhere/temporal"'),
  });
});

test('prefers a program on the PATH to the cache', async () => {
  const { folder, createFile, find } = await setup();
  const onPath = await createFile('second/temporal');
  await createFile('cache/temporal-batch-jobs/bin/temporal-v1.5.1');

  const PATH = [path.join(folder, 'first'), path.join(folder, 'second')].join(path.delimiter);

  expect(await find({ PATH })).toBe(onPath);
});

test('skips a file on the PATH that cannot be run', async () => {
  const { folder, createFile, find } = await setup();
  await createFile('bin/temporal', 0o644);
  const cached = await createFile('cache/temporal-batch-jobs/bin/temporal-v1.5.1');

  expect(await find({ PATH: path.join(folder, 'bin') })).toBe(cached);
});

test('takes a finished download of the SDK from the cache, not one under way', async () => {
  const { createFile, find } = await setup();
  const download = await createFile('cache/temporal-batch-jobs/bin/temporal-sdk-typescript-1.24.0');
  await createFile('cache/temporal-batch-jobs/bin/temporal-sdk-typescript-1.25.0.downloading');

  expect(await find({ PATH: '' })).toBe(download);
});

test('caches below XDG_CACHE_HOME, and below ~/.cache without it', () => {
  expect(temporalCacheDir({ XDG_CACHE_HOME: '/elsewhere' })).toBe('/elsewhere/temporal-batch-jobs/bin');
  expect(temporalCacheDir({})).toBe(path.join(homedir(), '.cache/temporal-batch-jobs/bin'));
});

test('reads an empty environment variable as one that is not set', () => {
  expect(environmentValue({ NAME: '' }, 'NAME')).toBeUndefined();
  expect(environmentValue({ NAME: '  ' }, 'NAME')).toBeUndefined();
  expect(environmentValue({}, 'NAME')).toBeUndefined();
  expect(environmentValue({ NAME: 'value' }, 'NAME')).toBe('value');
});

test.each([
  { url: 'postgres://user:secret@db.example:6432/app', address: 'db.example:6432' },
  { url: 'postgres://db.example/app', address: 'db.example:5432' },
  { url: 'host=db.example', address: 'host=db.example' },
])('uses $url from DATABASE_URL as it is, at $address', async ({ url, address }) => {
  const postgres = await startPostgres({ env: { DATABASE_URL: url } });
  expect(postgres).toMatchObject({ databaseUrl: url, address, pid: undefined });
});

test('takes address and namespace of Temporal from the environment', async () => {
  const env = { TEMPORAL_ADDRESS: 'temporal.example:7233', TEMPORAL_NAMESPACE: 'team' };
  const temporal = await startTemporal({ env });
  expect(temporal).toMatchObject({
    address: 'temporal.example:7233',
    namespace: 'team',
    webUiUrl: undefined,
  });
});

test.each(['kill', 'restart'] as const)('refuses to %s a server that it did not start', async (action) => {
  const temporal = await startTemporal({ env: { TEMPORAL_ADDRESS: 'temporal.example:7233' } });
  await expect(temporal[action]()).rejects.toMatchObject({
    code: 'DEV_SERVER',
    message: expect.stringContaining('comes from TEMPORAL_ADDRESS'),
  });
});
