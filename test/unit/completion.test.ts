import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { completionScript, completionsOf, SHELLS } from '../../src/cli/completion.ts';
import { buildProgram } from '../../src/cli/program.ts';

function program(write: (text: string) => unknown = () => {}) {
  return buildProgram({ stdout: { write }, stderr: { write: () => {} }, env: {} });
}

const complete = (...words: string[]) => completionsOf(program(), words).map(({ value }) => value);

describe('completion', () => {
  test('knows the commands, and none that is hidden', () => {
    expect(complete('')).toEqual(expect.arrayContaining(['list', 'status', 'retry-failed', 'help']));
    expect(complete('')).not.toContain('__complete');
    expect(complete('re')).toEqual(['resume', 'retry-failed', 'retry-callback']);
    expect(complete('li')).toEqual(['list', 'limits']);
    expect(complete('nonsense')).toEqual([]);
  });

  test('knows the options of the program and of a command', () => {
    expect(complete('--')).toEqual(['--version', '--help']);
    expect(complete('status', 'b', '--w')).toEqual(['--watch']);
    expect(complete('limits', 'stripe', '--max')).toEqual(['--max-concurrent', '--max-concurrent-per-key']);
    expect(complete('prune', '--sch')).toEqual(['--schedule', '--schedule-id', '--schema']);
  });

  test('knows the values of options and arguments that have choices', () => {
    expect(complete('jobs', 'b', '--status', '')).toEqual(['pending', 'complete', 'failed', 'cancelled']);
    expect(complete('list', '--status', 'pending', 'r')).toEqual(['running']);
    expect(complete('completion', '')).toEqual(['bash', 'zsh', 'fish']);
  });

  test('offers nothing for what it cannot know', () => {
    expect(complete('status', '')).toEqual([]);
    expect(complete('status', '--schema', '')).toEqual([]);
    expect(complete('jobs', 'b', '--status', 'failed', '')).toEqual([]);
  });

  test('goes on after an option that takes no value, and after one that takes several', () => {
    expect(complete('completion', '--help', 'z')).toEqual(['zsh']);
    expect(complete('list', '--status', 'failed', '--js')).toEqual(['--json']);
  });

  test('is asked by a hidden command, which prints a line each', async () => {
    let text = '';
    await program((part) => (text += part)).parseAsync(['__complete', '--', 'pause', 'b', '--ye'], {
      from: 'user',
    });
    expect(text).toBe('--yes\tdo not ask; needed where there is no terminal\n');
  });
});

/** How each shell checks a script without running it. */
const hasShell = (shell: string) => spawnSync(shell, ['-c', 'true']).status === 0;

test.each(SHELLS.filter(hasShell))('%s takes its script', (shell) => {
  const { status, stderr } = spawnSync(shell, ['-n'], { input: completionScript(shell), encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});

test.each(SHELLS)('the script for %s asks the program', (shell) => {
  expect(completionScript(shell)).toContain('batch-jobs __complete -- ');
});

test.runIf(hasShell('bash'))(
  'bash completes what the program answers, and asks with the words so far',
  async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-completion-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const fake = path.join(folder, 'batch-jobs');
    await writeFile(
      fake,
      `#!/bin/sh\nprintf '%s,' "$@" >${folder}/asked\nprintf -- '--watch\\tfollow it\\n--json\\tas JSON\\n'\n`,
    );
    await chmod(fake, 0o755);
    const { stdout, stderr } = spawnSync(
      'bash',
      [
        '-c',
        `${completionScript('bash')}
       COMP_WORDS=(batch-jobs status 'some id' '') COMP_CWORD=3
       _batch_jobs
       printf '%s\\n' "\${COMPREPLY[@]}"; cat ${folder}/asked`,
      ],
      {
        env: { PATH: `${folder}:${process.env['PATH']}` },
        stdio: ['ignore', 'pipe', 'pipe'],
        encoding: 'utf8',
      },
    );
    expect({ stdout, stderr }).toEqual({
      stdout: '--watch\n--json\n__complete,--,status,some id,,',
      stderr: '',
    });
  },
);
