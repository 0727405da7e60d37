import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { assertConfirmable, confirm } from '../../src/cli/confirm.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { FoundWantingError, UsageError } from '../../src/cli/exit-code.ts';
import { painter } from '../../src/cli/paint.ts';
import { RateMeter } from '../../src/cli/rate.ts';
import { formatTable } from '../../src/cli/table.ts';
import { openJsonLines, openWatchView } from '../../src/cli/watch-view.ts';
import type { BatchOverview } from '../../src/database/overview.ts';
import { eventually } from '../support/eventually.ts';

const plain = (_style: string, text: string) => text;

describe('colours', () => {
  const terminal = { isTTY: true, write: () => {} };
  const paint = (env: NodeJS.ProcessEnv, output: CliContext['stdout'] = terminal) =>
    painter({ env }, output)('red', 'x');

  test('are used on a terminal', () => {
    expect(paint({})).toBe('\u001B[31mx\u001B[39m');
    expect(paint({ NO_COLOR: '' })).toContain('\u001B');
  });

  test('are not used elsewhere, nor where NO_COLOR or a dumb terminal asks for none', () => {
    expect(paint({}, { write: () => {} })).toBe('x');
    expect(paint({ NO_COLOR: '1' })).toBe('x');
    expect(paint({ TERM: 'dumb' })).toBe('x');
  });
});

describe('a table', () => {
  test('aligns its columns, with colours in them or not', () => {
    const rows = [
      ['a', '1'],
      ['\u001B[31mbcd\u001B[39m', '1,000'],
    ];
    expect(formatTable([{ title: 'name' }, { title: 'jobs', align: 'right' }], rows, plain)).toBe(
      'name   jobs\na         1\n\u001B[31mbcd\u001B[39m   1,000\n',
    );
  });

  test('without titles has no heading', () => {
    expect(formatTable([{}, {}], [['status', 'running']], plain)).toBe('status  running\n');
  });
});

describe('a question', () => {
  const ask = async (answer: string, flags: { yes?: true } = {}) => {
    let stderr = '';
    const stdin = Object.assign(new PassThrough(), { isTTY: true });
    stdin.end(answer);
    const context: CliContext = {
      stdin,
      stdout: { write: () => {} },
      stderr: { isTTY: true, write: (text) => (stderr += text) },
      env: {},
    };
    assertConfirmable(context, flags);
    const isYes = await confirm(context, flags, 'Really?').then(
      () => true,
      (error: unknown) => {
        expect(error).toBeInstanceOf(FoundWantingError);
        return false;
      },
    );
    return { isYes, stderr };
  };

  test.each(['y\n', 'YES\n', ' y \n'])('is answered by %j', async (answer) => {
    expect(await ask(answer)).toEqual({ isYes: true, stderr: 'Really? [y/N] ' });
  });

  test.each(['\n', 'n\n', 'yesterday\n', ''])('is declined by %j', async (answer) => {
    const { isYes, stderr } = await ask(answer);
    expect(isYes).toBe(false);
    expect(stderr).toMatch(/^Really\? \[y\/N\] \n?Nothing was changed\.\n$/);
  });

  test('is not asked with --yes', async () => {
    expect(await ask('', { yes: true })).toEqual({ isYes: true, stderr: '' });
  });

  test.each([
    { stdin: false, stderr: true },
    { stdin: true, stderr: false },
  ])('cannot be asked unless both ends are a terminal: $stdin, $stderr', ({ stdin, stderr }) => {
    const context: CliContext = {
      stdin: Object.assign(new PassThrough(), { isTTY: stdin }),
      stdout: { write: () => {} },
      stderr: { isTTY: stderr, write: () => {} },
      env: {},
    };
    expect(() => assertConfirmable(context, {})).toThrow(UsageError);
  });
});

describe('a rate', () => {
  test('is unknown before there are two samples', () => {
    const meter = new RateMeter();
    expect(meter.perSecond()).toBeUndefined();
    meter.add(5, 1_000);
    expect(meter.perSecond()).toBeUndefined();
  });

  test('is that of the last ten seconds', () => {
    const meter = new RateMeter();
    for (let second = 0; second <= 20; second++) meter.add(second * 100, second * 1_000);
    expect(meter.perSecond()).toBe(100);
    for (let second = 21; second <= 40; second++) meter.add(2_000, second * 1_000);
    expect(meter.perSecond()).toBe(0);
  });

  test('starts anew with a round, when failed jobs are pending again', () => {
    const meter = new RateMeter();
    meter.add(1_000, 0);
    meter.add(400, 1_000);
    expect(meter.perSecond()).toBeUndefined();
    meter.add(410, 2_000);
    expect(meter.perSecond()).toBe(10);
  });
});

function overview(changes: Partial<BatchOverview> = {}): BatchOverview {
  const now = new Date('2026-11-23T12:00:00Z');
  return {
    id: 'b',
    description: 'A batch',
    status: 'running',
    total: 1_000,
    complete: 250,
    failed: 0,
    cancelled: 0,
    pending: 750,
    percent: 25,
    jobsPerSecond: 25,
    etaSeconds: 30,
    idleSeconds: 0,
    enrollmentError: null,
    failureReason: null,
    failWhenFailed: 'any',
    limits: null,
    parentId: null,
    round: 1,
    callbacks: { complete: { callback: 'OnComplete', status: 'registered', attempts: 0 } },
    deadlineAt: null,
    pausedAt: null,
    stoppedAt: null,
    stopReason: null,
    createdAt: now,
    sealedAt: now,
    completedAt: null,
    settledAt: null,
    now,
    ...changes,
  };
}

const later = (ms: number) => new Date(Date.parse('2026-11-23T12:00:00Z') + ms);
const half = overview({ complete: 480, failed: 20, pending: 500, percent: 50, now: later(10_000) });
const settled = overview({
  status: 'complete',
  complete: 1_000,
  pending: 0,
  percent: 100,
  settledAt: later(20_000),
  now: later(20_000),
  callbacks: {
    complete: { callback: 'OnComplete', status: 'running', attempts: 2, errorClass: 'E', errorMessage: 'm' },
  },
});

describe('a watched batch', () => {
  test('is a line for each change where there is no terminal, with the rate of late', () => {
    let text = '';
    const view = openWatchView({ write: (part) => (text += part) }, plain);
    view.update(overview());
    view.update(overview({ now: later(1_000), idleSeconds: 1 }));
    view.update(half);
    view.update(settled);
    view.close();
    expect(text.split('\n')).toEqual([
      '   25 %  250 of 1,000 complete, 750 pending, 25/s, 30 s left',
      '   50 %  480 of 1,000 complete, 20 failed, 500 pending, 25/s, 20 s left',
      '  100 %  complete: 1,000 of 1,000 complete, OnComplete on complete: running after 2 attempts: E: m',
      '',
    ]);
  });

  test('says that it is paused, and how long nothing has moved', () => {
    let text = '';
    const view = openWatchView({ write: (part) => (text += part) }, plain);
    view.update(overview({ pausedAt: later(0), jobsPerSecond: 0, idleSeconds: 65 }));
    expect(text).toContain('paused: 250 of 1,000 complete, 750 pending, idle for 1 min');
  });

  test('has no time left while nobody knows how many jobs there will be', () => {
    let text = '';
    const view = openWatchView({ write: (part) => (text += part) }, plain);
    view.update(overview({ status: 'pending' }));
    expect(text).toMatch(/pending: .*25\/s\n$/);
  });

  test('is a bar on a terminal, which grows with the batch and goes at its end', async () => {
    const stream = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY: true, columns: 200 });
    let text = '';
    stream.on('data', (part: string) => (text += part));
    const view = openWatchView(stream, plain);
    view.update(overview({ total: 0, complete: 0, pending: 0, percent: null }));
    await eventually(() => expect(text).toContain(`${'░'.repeat(30)} 0 %`));
    view.update(half);
    const bar = `${'█'.repeat(15)}${'░'.repeat(15)} 50 %  480 of 1,000 complete, 20 failed`;
    await eventually(() => expect(text).toContain(bar));
    view.close();
    // The line is erased.
    await eventually(() => expect(text.endsWith('\u001B[2K')).toBe(true));
    // Who ends the process by a signal finds lines that wrap, as before.
    expect(text).not.toContain('\u001B[?7l');
  });

  test.each([20, 60])('is a bar that fits into a terminal of %i columns', async (columns) => {
    const stream = Object.assign(new PassThrough({ encoding: 'utf8' }), { isTTY: true, columns });
    let text = '';
    stream.on('data', (part: string) => (text += part));
    const view = openWatchView(stream, plain);
    view.update(half);
    await eventually(() => expect(text).toContain(' 50 %'));
    view.close();
    // What stands between the commands to the terminal, such as "go to column 1".
    const shown = text.split('\u001B').map((part) => part.replace(/^(\[[?\d]*[A-Za-z]|\d)/, ''));
    expect(Math.max(...shown.map(({ length }) => length))).toBe(columns - 1);
  });

  test('is a line of JSON for each change', () => {
    let text = '';
    const view = openJsonLines({ write: (part) => (text += part) }, ({ id, complete }) => ({ id, complete }));
    view.update(overview());
    view.update(overview({ now: later(1_000) }));
    view.update(half);
    expect(text).toBe('{"id":"b","complete":250}\n{"id":"b","complete":480}\n');
  });
});
