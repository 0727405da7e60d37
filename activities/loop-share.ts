/** How long jobs may start one after the other before everything else in the process has its turn. */
const SHARE_MS = 4;

let startedAt: number | undefined;

/**
 * Whether handlers have had their share of this turn of the event loop. One share for all chunks of the process, so
 * that many at once do not hold up heartbeats, workflow tasks and a small batch for many times as long.
 */
export function isShareUsed(): boolean {
  const now = performance.now();
  if (startedAt === undefined) {
    startedAt = now;
    setImmediate(() => (startedAt = undefined));
    return false;
  }
  return now - startedAt > SHARE_MS;
}
