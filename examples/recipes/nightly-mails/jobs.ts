// A mail for each user, and a list of those who got none.
import { currentJob, defineCallback, defineJob } from 'temporal-batch-jobs';
import { provider } from './provider.js';

export const sendMail = defineJob(
  'SendMail',
  async (userId: number) => {
    // The jid is the same in each attempt, so that the provider knows a mail that it has already.
    await provider.send({ to: userId, idempotencyKey: currentJob().jid });
  },
  { retry: { maximumAttempts: 8 }, startToCloseTimeout: '30 seconds' },
);

export const reportUnsent = defineCallback(
  'ReportUnsent',
  async (batchId, { batches, trx }) => {
    const batch = await batches.find(batchId);
    for (const job of await batch.failedJobs()) {
      await trx('unsent_mails').insert({ night: batch.context['night'], user_id: job.args[0] });
    }
  },
  { transaction: true },
);
