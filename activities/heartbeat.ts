import { Context } from '@temporalio/activity';
import { waitMs } from '../src/timeouts.ts';

/** Heartbeats while `run` works. A worker that is dead, or whose event loop hangs, sends none and is found out. */
export async function withHeartbeat<T>(run: () => Promise<T>): Promise<T> {
  const context = Context.current();
  context.heartbeat();
  const timer = setInterval(() => context.heartbeat(), waitMs('heartbeatInterval'));
  try {
    return await run();
  } finally {
    clearInterval(timer);
  }
}
