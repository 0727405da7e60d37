import { execa } from 'execa';
import { expect, test } from 'vitest';

/** Runs code in a process of its own, since the watchdog kills it. */
const run = (code: string) =>
  execa('node', ['--import', 'tsx', '--input-type=module', '--eval', code], {
    reject: false,
    timeout: 30_000,
  });

const start = `import { startWatchdog } from './src/worker/watchdog.ts';
const stop = startWatchdog(1_000);`;

test.concurrent(
  'kills a process whose event loop hangs, and says why',
  async () => {
    const { signal, stderr } = await run(`${start} setTimeout(() => { for (;;); }, 100);`);
    expect(signal).toBe('SIGKILL');
    expect(stderr).toMatch(/event loop of process \d+ has hung for 1 s \(hungProcessTimeout\)/);
  },
  30_000,
);

test.concurrent(
  'leaves a process alone that works in pieces, and does not keep it from ending',
  async () => {
    const busy = `const end = Date.now() + 2_500;
    const work = () => {
      for (const pause = Date.now() + 300; Date.now() < pause; );
      if (Date.now() < end) setImmediate(work);
    };
    work();`;
    const { exitCode, stderr } = await run(`${start} ${busy}`);
    expect({ exitCode, stderr: stderr.replaceAll(/^npm warn.*$/gm, '').trim() }).toEqual({
      exitCode: 0,
      stderr: '',
    });
  },
  30_000,
);

test.concurrent(
  'does not take a pause of the whole process for a hung event loop',
  async () => {
    const child = run(`${start} process.stdout.write('up'); setTimeout(() => void stop(), 4_500);`);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGSTOP');
    // The pause is the scenario: three times what the watchdog allows.
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    child.kill('SIGCONT');
    expect((await child).exitCode).toBe(0);
  },
  30_000,
);
