import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { currentJob, defineCallback, defineJob } from '../../src/index.ts';

/** The jobs in the pictures: some work, some fail for a reason that a person would want to see. */
export const importLine = defineJob(
  'ImportLine',
  async (line: number) => {
    await delay(150, undefined, { signal: currentJob().signal });
    if (line % 937 === 0)
      throw ApplicationFailure.nonRetryable(`line ${line} has 3 columns, not 7`, 'FormatError');
    if (line % 2_711 === 0)
      throw ApplicationFailure.nonRetryable(
        `no country has the code "XK${line % 10}"`,
        'UnknownCountryError',
      );
  },
  { retry: { maximumAttempts: 1 } },
);

export const sendMail = defineJob(
  'SendMail',
  async (user: number) => {
    await delay(20);
    if (user % 400 === 0) throw new SmtpError('452 4.2.2 The mailbox is full');
    // The first attempt alone: these come again in a chunk that says why.
    if (user % 250 === 7 && currentJob().attempt === 1) throw new SmtpError('421 4.7.0 Try again later');
  },
  { retry: { maximumAttempts: 2, initialInterval: '2s' } },
);

export const scoreEntry = defineJob('ScoreEntry', async (_entry: number) => {
  await delay(5);
});

class SmtpError extends Error {
  override readonly name = 'SmtpError';
}

export const rebuildIndex = defineCallback('RebuildIndex', async () => {});
export const rebuildCache = defineCallback('RebuildCache', async () => {});
export const alertOps = defineCallback('AlertOps', async () => {});

export const jobs = [importLine, sendMail, scoreEntry];
export const callbacks = [rebuildIndex, rebuildCache, alertOps];
