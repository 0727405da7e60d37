const MAX_CONTEXT_LENGTH = 10_000;

/** What the Web UI shows of a batch that never changes: where it comes from, and its context. In Markdown. */
export function staticDetails(batchId: string, context: unknown, parentBatchId?: string): string {
  return [
    `Batch \`${batchId}\`. How far it is, and where to look next: see its current details.`,
    ...(parentBatchId === undefined ? [] : [`Created by code of the batch \`batch:${parentBatchId}\`.`]),
    'Context:',
    `\`\`\`json\n${readable(context)}\n\`\`\``,
    // The frame in which the Web UI shows it is a line too short: the last one is cut off.
    '\u00a0',
  ].join('\n\n');
}

/**
 * The context for people, indented. Cut, because indentation makes megabytes of a deeply nested one, and Temporal
 * takes no message of that size.
 */
function readable(context: unknown): string {
  const text = JSON.stringify(context, null, 2);
  return text.length > MAX_CONTEXT_LENGTH ? `${text.slice(0, MAX_CONTEXT_LENGTH)}...` : text;
}
