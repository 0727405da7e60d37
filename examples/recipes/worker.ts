// One worker for all recipes. An app has as many of them as it needs, each with all jobs or with some.
import { NativeConnection } from '@temporalio/worker';
import { createBatchWorker } from 'temporal-batch-jobs/worker';
import { publishWinners, rankRegion, scoreGame, startRanking } from './chain/jobs.js';
import { database, taskQueue, temporalAddress } from './connect.js';
import { importProduct, recordImport } from './file-import/jobs.js';
import { reportUnsent, sendMail } from './nightly-mails/jobs.js';
import { convertPrice } from './retry-after-fix/jobs.js';

const connection = await NativeConnection.connect({ address: temporalAddress });
const worker = await createBatchWorker({
  connection,
  database,
  taskQueue,
  jobs: [convertPrice, importProduct, rankRegion, scoreGame, sendMail],
  callbacks: [publishWinners, recordImport, reportUnsent, startRanking],
});
await worker.run(); // until SIGTERM, which drains
await connection.close();
await database.destroy();
