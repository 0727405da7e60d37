import { expect, onTestFinished, test } from 'vitest';
import { ServerProcess, type ServerCommand } from '../../src/dev/server-process.ts';

const STAYS = 'setInterval(() => {}, 1000)';

function setup(script: string, options: Partial<ServerCommand> = {}): ServerProcess {
  const server = new ServerProcess({
    name: 'Something',
    file: process.execPath,
    args: ['--eval', script],
    env: {},
    stopSignal: 'SIGTERM',
    probe: () => Promise.resolve(),
    ...options,
  });
  onTestFinished(() => server.stop());
  return server;
}

test('repeats the probe until the server answers', async () => {
  let probes = 0;
  const server = setup(STAYS, {
    probe: () => (++probes < 3 ? Promise.reject(new Error('not yet')) : Promise.resolve()),
  });

  await server.start();

  expect(probes).toBe(3);
  expect(server.pid).toBeGreaterThan(0);
});

test('reports the output of a server that exits while it starts', async () => {
  const server = setup('console.log("said"); console.error("complained"); process.exit(3)', {
    probe: () => Promise.reject(new Error('not yet')),
  });

  await expect(server.start()).rejects.toMatchObject({
    code: 'DEV_SERVER',
    message: expect.stringMatching(/^Something exited while it started .*said.*complained/s),
  });
  expect(server.pid).toBeUndefined();
});

test('reports a program that does not exist', async () => {
  const server = setup('', { file: '/nowhere/server', probe: () => Promise.reject(new Error('not yet')) });

  await expect(server.start()).rejects.toThrow(/Something exited .*ENOENT/s);
});

test('starts a server again that exited for a reason which passes', async () => {
  let starts = 0;
  const server = setup(`console.error("busy"); process.exit(1)`, {
    probe: () => Promise.reject(new Error('not yet')),
    isTransientExit: (output) => ++starts < 3 && output.includes('busy'),
  });

  await expect(server.start()).rejects.toThrow('busy');
  expect(starts).toBe(3);
});

test('has no process id once the server was killed, and gets a new one by starting again', async () => {
  const server = setup(STAYS);
  await server.start();
  const first = server.pid;

  await server.kill('SIGKILL');
  expect(server.pid).toBeUndefined();

  await server.start();
  expect(server.pid).not.toBe(first);
  expect(server.pid).toBeGreaterThan(0);
});
