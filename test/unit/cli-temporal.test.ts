import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { temporalSettings } from '../../src/cli/temporal.ts';

let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-config-'));
  file = path.join(folder, 'temporal.toml');
  await writeFile(file, '[profile.staging]\naddress = "staging:7233"\nnamespace = "jobs"\n');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** With a file that is not there: the one of whoever runs the tests must not matter. */
const withoutFile = () => ({ TEMPORAL_CONFIG_FILE: path.join(folder, 'none.toml') });

test('without any configuration it is the server of this machine', () => {
  expect(temporalSettings(withoutFile(), {})).toMatchObject({
    address: '127.0.0.1:7233',
    namespace: 'default',
  });
});

test('the environment says where Temporal is, and an empty variable says nothing', () => {
  const env = { ...withoutFile(), TEMPORAL_ADDRESS: 'temporal:7233', TEMPORAL_NAMESPACE: '' };
  expect(temporalSettings(env, {})).toMatchObject({ address: 'temporal:7233', namespace: 'default' });
});

test('the profile that the environment names is read from its file', () => {
  const env = { TEMPORAL_CONFIG_FILE: file, TEMPORAL_PROFILE: 'staging' };
  expect(temporalSettings(env, {})).toMatchObject({ address: 'staging:7233', namespace: 'jobs' });
});

test('flags come before the environment, and the environment before the profile', () => {
  const env = { TEMPORAL_CONFIG_FILE: file, TEMPORAL_PROFILE: 'staging', TEMPORAL_NAMESPACE: 'of-env' };
  expect(temporalSettings(env, { address: 'flag:1' })).toMatchObject({
    address: 'flag:1',
    namespace: 'of-env',
  });
});

test('a profile that is not there is a wrong option', () => {
  const env = { TEMPORAL_CONFIG_FILE: file, TEMPORAL_PROFILE: 'production' };
  expect(() => temporalSettings(env, {})).toThrow(
    expect.objectContaining({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/^TEMPORAL_PROFILE.*production/),
    }),
  );
});
