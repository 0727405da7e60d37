// Sends the mails of one night. For a scheduler, which may start it twice: nobody gets a second mail.
import { AlreadyEnrolledError } from 'temporal-batch-jobs';
import { withBatches } from '../connect.js';
import { reportUnsent, sendMail } from './jobs.js';

const [night, ...users] = process.argv.slice(2);

await withBatches(async (batches) => {
  const batch = await batches.create({
    id: `mails-${night}`,
    description: `Mails of ${night}`,
    context: { night },
    perSecond: 20, // what the provider allows, over all workers
    maxConcurrentJobs: 5, // connections that it allows
    deadline: new Date(`${night}T06:00:00Z`), // nobody wants them in the afternoon
    failWhenFailed: { moreThan: '1%' },
  });
  if (batch.status === 'pending') {
    await batch.on('settled', reportUnsent);
    try {
      await batch.jobs(
        async () => {
          for (const user of users) await sendMail.set({ key: user }).performAsync(Number(user));
        },
        { resume: true },
      );
    } catch (error) {
      // Another start of this program has taken over and enrols the same users.
      if (!(error instanceof AlreadyEnrolledError)) throw error;
    }
  }
  const { status, complete, failed } = await batch.wait({ timeout: '12 hours' });
  console.log(`${night}: ${status}, ${complete} sent, ${failed} not`);
});
