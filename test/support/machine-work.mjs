import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';

/** Parsing and sorting, as tests and workers do: no system calls, so that disks and sockets do not blur it. */
function work() {
  let checksum = 0;
  for (let i = 0; i < 30; i++) {
    const rows = Array.from({ length: 2_000 }, (_, id) => ({ id, key: `${(id * 7_919) % 2_003}`, i }));
    const copy = JSON.parse(JSON.stringify(rows));
    copy.sort((a, b) => (a.key < b.key ? -1 : 1));
    checksum += copy[i].id;
  }
  return checksum;
}

const times = Array.from({ length: workerData.runs }, () => {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
});
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows
parentPort.postMessage(times);
