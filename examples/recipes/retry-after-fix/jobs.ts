// A job that fails because something is missing.
import { ApplicationFailure } from '@temporalio/common';
import { defineJob } from 'temporal-batch-jobs';
import { database } from '../connect.js';

export const convertPrice = defineJob(
  'ConvertPrice',
  async (orderId: number, amount: number, currency: string) => {
    const rate = await database('exchange_rates').where({ currency }).first('euros');
    if (!rate) throw ApplicationFailure.nonRetryable(`No exchange rate for ${currency}`, 'UnknownCurrency');
    const euros = amount * Number(rate.euros);
    await database('converted_prices').insert({ order_id: orderId, euros }).onConflict('order_id').merge();
  },
);
