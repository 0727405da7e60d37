import type { BatchClient } from './batch-client.ts';

/** The app's clients that are open in this process. A job outside of a block is started by the only one. */
export const openClients = new Set<BatchClient>();
