// Stands for the API of a mail provider that takes an idempotency key, as most do.
import { ApplicationFailure } from '@temporalio/common';
import { database } from '../connect.js';

interface Mail {
  readonly to: number;
  readonly idempotencyKey: string;
}

export const provider = {
  async send({ to, idempotencyKey }: Mail): Promise<void> {
    if (to < 0) throw ApplicationFailure.nonRetryable(`User ${to} has no address`, 'NoAddress');
    const accepted = await database('sent_mails')
      .insert({ idempotency_key: idempotencyKey, user_id: to })
      .onConflict('idempotency_key')
      .ignore()
      .returning('user_id');
    // Now and then it accepts a mail, and its answer is lost.
    if (accepted.length > 0 && to % 10 === 0) throw new Error('socket hang up');
  },
};
