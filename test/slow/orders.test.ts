import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { execaNode } from 'execa';
import { Client as PostgresClient } from 'pg';
import { expect, inject, onTestFinished, test } from 'vitest';
import { compiledScript } from '../support/processes.ts';

const file = (name: string) => fileURLToPath(new URL(`../../examples/orders/${name}`, import.meta.url));

test('an app of two workflows gets a batch around it', async () => {
  const schema = `orders_${randomBytes(6).toString('hex')}`;
  onTestFinished(async () => {
    const client = new PostgresClient({ connectionString: inject('databaseUrl') });
    await client.connect();
    await client.query(`drop schema if exists ${schema} cascade`);
    await client.end();
  });
  const { stdout, stderr, exitCode } = await execaNode(compiledScript('examples/orders/main.ts'), {
    nodeOptions: [],
    env: { DATABASE_URL: inject('databaseUrl'), TEMPORAL_ADDRESS: inject('temporalAddress'), SCHEMA: schema },
    reject: false,
  });
  expect({ exitCode, stderr, lines: stdout.split('\n') }).toEqual({
    exitCode: 0,
    stderr: '',
    lines: [
      'The day is done: 19 workflows are complete, 1 failed.',
      'ship-7: InvalidOrder: Order 7 has no price',
    ],
  });
});

test.each(['workflows.ts', 'activities.ts', 'orders.ts'])(
  '%s of the app knows nothing of batches',
  async (name) => {
    const code = (await readFile(file(name), 'utf8')).replaceAll(/^\/\/.*$/gm, '');
    expect(code).not.toMatch(/batch|\.\.\/src/i);
  },
);
