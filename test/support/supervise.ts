import type { ProcessOptions, World } from './world.ts';

/** What a process manager does: starts a worker again whenever it dies. Ends with its scope. @returns once one is up */
export async function supervise(world: World, options: ProcessOptions = {}): Promise<AsyncDisposable> {
  const scope = new AbortController();
  let worker = await world.spawnWorker(options);
  const running = (async () => {
    for (;;) {
      await worker.exited;
      if (scope.signal.aborted) return;
      try {
        worker = await world.spawnWorker(options);
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
