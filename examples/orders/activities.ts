// The app as it was: what its workflows do.
import type { Order } from './workflows.ts';

export async function chargeCard(_order: Order): Promise<void> {}

export async function shipParcel({ id }: Order): Promise<string> {
  return `parcel-${id}`;
}

export async function mailInvoice(_order: Order): Promise<void> {}
