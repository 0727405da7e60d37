import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import knexFactory from 'knex';
import type { Callback } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { createContractFixtures } from './contract-fixtures.ts';
import { createCrashFixtures } from './crash-fixtures.ts';
import { createFixtures } from './fixtures.ts';
import { Ledger } from './ledger.ts';
import type { ProcessOptions } from './world.ts';

// A worker with all fixtures in a process of its own, so that a test can kill it.
const { DATABASE_URL, TEMPORAL_ADDRESS, SCHEMA, TASK_QUEUE, WORKFLOW_BUNDLE, OPTIONS } =
  process.env as Record<string, string>;
const { without = [], ...options } = JSON.parse(OPTIONS!) as Pick<ProcessOptions, 'without'>;
Runtime.install({ logger: new DefaultLogger('ERROR') });
const knex = knexFactory({ client: 'pg', connection: DATABASE_URL!, pool: { min: 0, max: 10 } });
const ledger = new Ledger(knex, SCHEMA!);
const [common, contract, crashing] = [
  createFixtures(ledger),
  createContractFixtures(ledger),
  createCrashFixtures(ledger),
];
const isKnown = ({ name }: { readonly name: string }) => !without.includes(name);
const connection = await NativeConnection.connect({ address: TEMPORAL_ADDRESS! });
const worker = await createBatchWorker({
  connection,
  database: knex,
  schema: SCHEMA!,
  taskQueue: TASK_QUEUE!,
  workflowBundle: { codePath: WORKFLOW_BUNDLE! },
  jobs: [...Object.values(common.jobs), ...Object.values(crashing.jobs)].filter(isKnown),
  callbacks: [common, contract, crashing]
    .flatMap(({ callbacks }) => Object.values<Callback>(callbacks))
    .filter(isKnown),
  ...options,
});
const running = worker.run();
process.stdout.write('ready\n');
await running;
await connection.close();
await knex.destroy();
