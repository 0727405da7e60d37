import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { CALLS, CHECKS, LATE, PROCESS_WAITS, waitMs as processWaitMs } from '../../src/timeouts.ts';
import {
  scaledMs,
  setTimeoutScale,
  UNKNOWN_JOB_PAUSES_MS,
  waitMs,
  WORKFLOW_CALLS,
  WORKFLOW_WAITS,
} from '../../workflows/timeouts.ts';

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
const section = page.slice(page.indexOf('## Timeouts'), page.indexOf('## Backup and restore'));

const UNITS: Record<string, number> = { ms: 1, s: 1_000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Names and milliseconds of the table after a heading. */
function documented(heading: string): Record<string, number> {
  const table = section.slice(section.indexOf(`**${heading}.**`)).split('\n\n')[1]!;
  const rows = table.matchAll(/^\| `(\w+)` +\| ([\d.]+) (\w+) +\|/gm);
  return Object.fromEntries([...rows].map(([, name, value, unit]) => [name!, Number(value) * UNITS[unit!]!]));
}

describe('the defaults', () => {
  test('of waits are what docs/operations.md says', () => {
    expect({ ...WORKFLOW_WAITS, ...PROCESS_WAITS }).toEqual(documented('Waits'));
  });

  test('of calls are what docs/operations.md says', () => {
    expect({ ...WORKFLOW_CALLS, ...CALLS }).toEqual(documented('Calls'));
  });

  test('of checks are what docs/operations.md says', () => {
    expect(CHECKS).toEqual(documented('Checks'));
  });

  test('of findings are what docs/operations.md says', () => {
    expect(LATE).toEqual(documented('Findings'));
  });

  test('have one meaning for each name', () => {
    const names = [WORKFLOW_WAITS, PROCESS_WAITS, WORKFLOW_CALLS, CALLS, CHECKS].flatMap(Object.keys);
    expect(names).toEqual([...new Set(names)]);
  });

  test('are in force where no scale is set', () => {
    expect(waitMs('heartbeat')).toBe(10_000);
    expect(processWaitMs('heartbeatThrottle')).toBe(3_000);
    expect(UNKNOWN_JOB_PAUSES_MS.map(scaledMs)).toEqual([1_000, 2_000, 5_000, 10_000, 30_000]);
  });

  test('let a worker be silent for longer than its heartbeats take, and the doctor wait for longer still', () => {
    const { heartbeatInterval, heartbeatThrottle } = PROCESS_WAITS;
    expect(heartbeatInterval + 2 * heartbeatThrottle).toBeLessThan(WORKFLOW_WAITS.heartbeat);
    expect(WORKFLOW_WAITS.heartbeat).toBeLessThan(LATE.heartbeat);
  });

  test('let a creator wait for longer than its batch believes, though their clocks differ by up to 10 s', () => {
    expect(CALLS.creatorPatience + 10_000).toBeLessThanOrEqual(CALLS.worker);
  });
});

describe('the scale', () => {
  afterEach(() => setTimeoutScale(1));

  test('shortens every wait of workflows and processes, and no call', () => {
    setTimeoutScale(0.2);
    expect(waitMs('childCheck')).toBe(12_000);
    expect(processWaitMs('nestedMissing')).toBe(12_000);
    expect(WORKFLOW_CALLS.localWrite).toBe(1_500);
  });

  test('leaves whole milliseconds', () => {
    setTimeoutScale(0.333_3);
    expect(waitMs('stopGrace')).toBe(3_333);
    expect(scaledMs(1)).toBe(1);
  });

  test.each([0, -1, 1.1, NaN, Infinity])('of %d is refused', (factor) => {
    expect(() => setTimeoutScale(factor)).toThrow(
      `The timeout scale must be more than 0 and at most 1, but was ${factor}.`,
    );
  });
});
