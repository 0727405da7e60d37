import { Context } from '@temporalio/activity';

/** The worker sends at most one in 3 s to the server, so that calling often costs nothing. */
const HEARTBEAT_MS = 1_000;

/** Heartbeats while `run` works. A worker that is dead, or whose event loop hangs, sends none and is found out. */
export async function withHeartbeat<T>(run: () => Promise<T>): Promise<T> {
  const context = Context.current();
  context.heartbeat();
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
  try {
    return await run();
  } finally {
    clearInterval(timer);
  }
}
