// The app as it was: how it starts its workflows.
import type { Client } from '@temporalio/client';
import { sendInvoice, shipOrder, type Order } from './workflows.ts';

export const TASK_QUEUE = 'orders';

export async function processOrder(client: Client, order: Order): Promise<void> {
  const start = { taskQueue: TASK_QUEUE, args: [order] as [Order] };
  await client.workflow.start(shipOrder, { ...start, workflowId: `ship-${order.id}` });
  await client.workflow.start(sendInvoice, { ...start, workflowId: `invoice-${order.id}` });
}
