// Sends the mails of one night. For a scheduler, which may start it twice: nobody gets a second mail.
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
    callbacks: { settled: reportUnsent },
  });
  await batch.jobs(
    async () => {
      for (const user of users) await sendMail.set({ key: user }).performAsync(Number(user));
    },
    // Of two starts of this program each gets the same total, and the keys make each user one job.
    { once: true },
  );
  const { status, complete, failed } = await batch.wait({ timeout: '12 hours' });
  console.log(`${night}: ${status}, ${complete} sent, ${failed} not`);
});
