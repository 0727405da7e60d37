// The worker of docker-compose.yml: the jobs of the README, and an answer for health checks.
import { createServer } from 'node:http';
import { NativeConnection } from '@temporalio/worker';
import { createBatchWorker } from 'temporal-batch-jobs/worker';
import { rebuildCache, scoreEntry } from '../quickstart/jobs.js';

const connection = await NativeConnection.connect({ address: process.env['TEMPORAL_ADDRESS']! });
const worker = await createBatchWorker({
  connection,
  database: process.env['DATABASE_URL']!,
  jobs: [scoreEntry],
  callbacks: [rebuildCache],
});

// Another state than RUNNING: it drains. No answer: the event loop hangs, or the process is gone.
const health = createServer((_request, response) => {
  const state = worker.worker.getState();
  response.writeHead(state === 'RUNNING' ? 200 : 503, { 'content-type': 'text/plain' }).end(`${state}\n`);
}).listen(Number(process.env['HEALTH_PORT'] ?? 8080));

await worker.run(); // until SIGTERM, which drains
health.close();
await connection.close();
