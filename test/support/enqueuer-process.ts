import { createInterface } from 'node:readline';
import { Client, Connection, type WorkflowClientInterceptor } from '@temporalio/client';
import knexFactory from 'knex';
import { BatchClient, BatchError, BatchPlugin } from '../../src/index.ts';
import type { EnqueuerCommand, EnqueuerEvent } from './enqueuers.ts';
import { createFixtures } from './fixtures.ts';
import { Ledger } from './ledger.ts';

// An app that enrols what it is told to, in a process of its own, so that a test can kill it.
const { DATABASE_URL, TEMPORAL_ADDRESS, SCHEMA, TASK_QUEUE } = process.env as Record<string, string>;
const knex = knexFactory({ client: 'pg', connection: DATABASE_URL!, pool: { min: 0, max: 5 } });
const { jobs } = createFixtures(new Ledger(knex, SCHEMA!));
const connection = await Connection.connect({ address: TEMPORAL_ADDRESS! });
const client = new Client({ connection });
const batches = new BatchClient({ client, database: knex, schema: SCHEMA!, taskQueue: TASK_QUEUE! });

const tell = (event: EnqueuerEvent) => process.stdout.write(`${JSON.stringify(event)}\n`);

async function startWorkflow({ hangs, workflowType, ...options }: NonNullable<EnqueuerCommand['workflow']>) {
  const workflow: WorkflowClientInterceptor = {
    startWithDetails: async (input, next) => {
      if (hangs === 'after') await next(input);
      return new Promise(() => {});
    },
  };
  const plugins = [new BatchPlugin()];
  const app = new Client({ connection, interceptors: { workflow: [workflow] }, plugins });
  await app.workflow.start(workflowType, options);
}

async function enrol(command: EnqueuerCommand): Promise<void> {
  const {
    batchId,
    name,
    count,
    job = 'record',
    thenHang,
    keyed = false,
    resume = false,
    once = false,
    taskQueue,
  } = command;
  try {
    const batch = await batches.find(batchId);
    const block = async () => {
      tell({ what: 'entered', batchId });
      for (let i = 0; i < count; i++) {
        const options = { ...(keyed ? { key: `${name}${i}` } : {}), ...(taskQueue ? { taskQueue } : {}) };
        const start = jobs[job].set(options).performAsync(`${name}${i}`);
        if (!command.isUnawaited) await start;
        // Such a loop must give way by itself.
        else if (i % 500 === 499) await new Promise(setImmediate);
      }
      if (command.workflow) await startWorkflow(command.workflow);
      if (thenHang) await new Promise(() => {});
    };
    const { total } = await batch.jobs(block, { resume, once });
    tell({ what: 'closed', batchId, total });
  } catch (error) {
    tell({ what: 'refused', batchId, code: error instanceof BatchError ? error.code : String(error) });
  }
}

createInterface({ input: process.stdin }).on(
  'line',
  (line) => void enrol(JSON.parse(line) as EnqueuerCommand),
);
tell({ what: 'ready' });
