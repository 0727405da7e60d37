import { isBatchId, MARK } from './names.ts';

/** The batch that a workflow is a job of, by its memo; undefined: it is none, or the mark is another workflow's. */
export function markedBatch(
  memo: Readonly<Record<string, unknown>> | undefined,
  workflowId: string,
): string | undefined {
  const mark = memo?.[MARK];
  if (typeof mark !== 'object' || mark === null) return undefined;
  const { batchId, workflowId: marked } = mark as Readonly<Record<string, unknown>>;
  return marked === workflowId && isBatchId(batchId) ? batchId : undefined;
}
