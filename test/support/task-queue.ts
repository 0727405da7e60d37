/** A queue of tasks as many libraries have one: it runs tasks one after the other, in the context of whoever woke it. */
export interface TaskQueue {
  add<T>(task: () => T | PromiseLike<T>): Promise<T>;
  /** Of a queue that was created paused: begins, in the context of the caller. */
  start(): void;
}

export function createTaskQueue({ isPaused = false } = {}): TaskQueue {
  const tasks: (() => Promise<void>)[] = [];
  let isBusy = isPaused;
  const pump = async () => {
    if (isBusy) return;
    isBusy = true;
    for (let task = tasks.shift(); task; task = tasks.shift()) await task();
    isBusy = false;
  };
  return {
    add: (task) =>
      new Promise((resolve, reject) => {
        tasks.push(async () => {
          try {
            resolve(await task());
          } catch (error) {
            // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- as it was thrown
            reject(error);
          }
        });
        void pump();
      }),
    start: () => {
      isBusy = false;
      void pump();
    },
  };
}
