import type { ProcessOptions, World } from './world.ts';

/** What a process manager does: starts a worker again whenever it dies. Ends with its scope. */
export function supervise(world: World, options: ProcessOptions = {}): AsyncDisposable {
  const scope = new AbortController();
  const running = (async () => {
    while (!scope.signal.aborted) {
      try {
        await (
          await world.spawnWorker(options)
        ).exited;
      } catch (error) {
        // Killed before it was ready, by the end of the scope.
        if (!scope.signal.aborted) throw error;
      }
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      scope.abort();
      await world.stopProcesses();
      await running;
    },
  };
}
