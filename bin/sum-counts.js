// Adds up lines such as `12 passed, 0 failed, 1 skipped` from standard input, and prints one of the same form, after the
// lines that name failures.
import { text } from 'node:stream/consumers';

const counts = { passed: 0, failed: 0, skipped: 0 };
for (const line of (await text(process.stdin)).split('\n')) {
  if (line.startsWith('FAIL ')) {
    console.log(line);
    continue;
  }
  for (const [, count, name] of line.matchAll(/(\d+) (passed|failed|skipped)/g)) {
    counts[/** @type {keyof typeof counts} */ (name)] += Number(count);
  }
}
const skipped = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
