// The app as it was: two workflows. Nothing in this file knows of batches.
import { ApplicationFailure, proxyActivities } from '@temporalio/workflow';
import type * as activities from './activities.ts';

const { chargeCard, shipParcel, mailInvoice } = proxyActivities<typeof activities>({
  startToCloseTimeout: '1 minute',
});

export interface Order {
  readonly id: number;
  readonly cents: number;
}

/** Charges the card, and ships what was paid. */
export async function shipOrder(order: Order): Promise<string> {
  if (order.cents <= 0)
    throw ApplicationFailure.nonRetryable(`Order ${order.id} has no price`, 'InvalidOrder');
  await chargeCard(order);
  return shipParcel(order);
}

/** Mails an invoice. */
export async function sendInvoice(order: Order): Promise<void> {
  await mailInvoice(order);
}
