import { url as inspectorUrl } from 'node:inspector';
import { Worker } from 'node:worker_threads';

const MAX_INTERVAL_MS = 1_000;

/** Places in the shared array: beats counted by the main thread, and whether a debugger may have stopped it. */
const BEATS = 0;
const DEBUGGED = 1;

/**
 * Runs in a thread, as text: the package is read from sources and from a build alike. It counts its own wake-ups and
 * not time: a process that was paused as a whole (SIGSTOP, a laptop asleep) is not hung.
 */
const WATCH = `
const { workerData } = require('node:worker_threads');
const { writeSync } = require('node:fs');
const shared = new Int32Array(workerData.buffer);
let seen = -1;
let missed = 0;
setInterval(() => {
  const beats = Atomics.load(shared, ${BEATS});
  missed = beats === seen && Atomics.load(shared, ${DEBUGGED}) === 0 ? missed + 1 : 0;
  seen = beats;
  if (missed < workerData.limit) return;
  try {
    writeSync(2, workerData.message);
  } catch {}
  process.kill(process.pid, 'SIGKILL');
}, workerData.intervalMs);
`;

/**
 * Kills this process when its event loop hangs for `timeoutMs`: a job that never gives it back would hold all other
 * jobs of the process for ever, and no code of the process can end it. Temporal gives the jobs to another worker.
 *
 * @returns stops watching
 */
export function startWatchdog(timeoutMs: number): () => Promise<void> {
  const intervalMs = Math.min(MAX_INTERVAL_MS, timeoutMs / 5);
  const buffer = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT);
  const shared = new Int32Array(buffer);
  const beat = setInterval(() => {
    Atomics.add(shared, BEATS, 1);
    Atomics.store(shared, DEBUGGED, inspectorUrl() === undefined ? 0 : 1);
  }, intervalMs);
  beat.unref();
  const watcher = new Worker(WATCH, {
    eval: true,
    // Flags of the process, such as --import of a loader, are not for this thread.
    execArgv: [],
    workerData: {
      buffer,
      intervalMs,
      limit: Math.ceil(timeoutMs / intervalMs),
      message:
        `temporal-batch-jobs: the event loop of process ${process.pid} has hung for ${timeoutMs / 1000} s ` +
        '(hungProcessTimeout): a job computes without a pause or never returns. Killing the process, so that other ' +
        'workers take its jobs.\n',
    },
  });
  watcher.unref();
  return async () => {
    clearInterval(beat);
    await watcher.terminate();
  };
}
