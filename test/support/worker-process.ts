import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import knexFactory from 'knex';
import { createBatchWorker } from '../../src/worker/index.ts';
import { createContractFixtures } from './contract-fixtures.ts';
import { createFixtures } from './fixtures.ts';
import { Ledger } from './ledger.ts';

// A worker with all fixtures in a process of its own, so that a test can kill it.
const { DATABASE_URL, TEMPORAL_ADDRESS, SCHEMA, TASK_QUEUE, WORKFLOW_BUNDLE } = process.env as Record<
  string,
  string
>;
Runtime.install({ logger: new DefaultLogger('ERROR') });
const knex = knexFactory({ client: 'pg', connection: DATABASE_URL!, pool: { min: 0, max: 10 } });
const ledger = new Ledger(knex, SCHEMA!);
const { jobs, callbacks } = createFixtures(ledger);
const contract = createContractFixtures(ledger);
const connection = await NativeConnection.connect({ address: TEMPORAL_ADDRESS! });
const worker = await createBatchWorker({
  connection,
  database: knex,
  schema: SCHEMA!,
  taskQueue: TASK_QUEUE!,
  workflowBundle: { codePath: WORKFLOW_BUNDLE! },
  jobs: Object.values(jobs),
  callbacks: [...Object.values(callbacks), ...Object.values(contract.callbacks)],
});
const running = worker.run();
process.stdout.write('ready\n');
await running;
await connection.close();
await knex.destroy();
