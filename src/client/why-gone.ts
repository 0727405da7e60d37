import type { BatchRow } from '../database/rows.ts';
import { toBatchRecord } from '../database/rows.ts';
import type { BatchError } from '../errors.ts';
import type { BatchClient } from './batch-client.ts';
import { findLost, terminatedError } from './lost-workflow.ts';
import { whyClosed, type Asker } from './why-closed.ts';

/** Why a batch takes no jobs any more: as its row says, or because its workflow was terminated. */
export async function whyGone(
  { client }: Pick<BatchClient, 'client'>,
  batchId: string,
  row: BatchRow | undefined,
  asker: Asker,
  cause?: unknown,
): Promise<BatchError> {
  // The row knows it all, unless nobody has written to it since the workflow was terminated.
  if (row && row.stop_reason === null && row.settled_at === null) {
    const lost = await findLost(client, toBatchRecord(row));
    if (lost) return terminatedError(batchId, lost, cause);
  }
  return whyClosed(batchId, row, asker, cause);
}
