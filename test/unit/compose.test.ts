import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { buildProgram } from '../../src/cli/program.ts';
import { longRunning, readCompose, readText, type Service } from '../support/compose.ts';

// What can be known of docker-compose.yml without an engine. That its commands do what they should is tested by
// test/slow/compose.test.ts.
const root = fileURLToPath(new URL('../..', import.meta.url));
const { bin, version, engines } = JSON.parse(readText('package.json')) as {
  bin: Record<string, string>;
  version: string;
  engines: { node: string };
};
const compose = readCompose();
const services = Object.entries(compose.services);
const dockerfile = readText('examples/compose/Dockerfile');

const service = (name: string): Service => compose.services[name]!;
const portsOf = ({ ports = [] }: Service) => ports.map((port) => port.split(':'));

describe('docker-compose.yml', () => {
  test('has what a batch needs, and the example', () => {
    expect(services.map(([name]) => name)).toEqual([
      'postgres',
      'temporal',
      'temporal-ui',
      'migrate',
      'worker',
      'app',
    ]);
  });

  test('pins each image to a release, and builds the others as this version', () => {
    for (const [name, { image, build }] of services) {
      const tag = image.split(':')[1];
      if (build) expect({ name, tag }).toEqual({ name, tag: version });
      else expect({ name, tag }).toEqual({ name, tag: expect.stringMatching(/^\d+\.\d+(\.\d+)?$/) });
    }
  });

  test('opens each port to this machine alone, and none twice', () => {
    const ports = services.flatMap(([, of]) => portsOf(of));
    expect(ports.map(([address]) => address)).toEqual(ports.map(() => '127.0.0.1'));
    expect(new Set(ports.map(([, port]) => port)).size).toBe(ports.length);
    expect(ports.every((parts) => parts.length === 3)).toBe(true);
  });

  test('keeps what is to stay in named volumes, and mounts nothing of the machine', () => {
    const mounts = services.flatMap(([, { volumes = [] }]) => volumes);
    const sources = mounts.map((mount) => mount.split(':')[0]!);
    expect(sources.sort()).toEqual(Object.keys(compose.volumes).sort());
  });

  test('watches the health of everything that stays up, and starts it again', () => {
    for (const [name, { healthcheck, restart }] of longRunning(compose)) {
      expect({ name, restart }).toEqual({ name, restart: 'unless-stopped' });
      expect({ name, healthcheck }).toEqual({
        name,
        healthcheck: expect.objectContaining({
          test: expect.arrayContaining(['CMD']),
          interval: expect.stringMatching(/^\d+s$/),
          timeout: expect.stringMatching(/^\d+s$/),
          retries: expect.any(Number),
        }),
      });
    }
  });

  test('has nothing but text in what is run: YAML takes some of it for something else', () => {
    for (const [name, { command = [], healthcheck }] of services) {
      const parts: unknown[] = [...command, ...(healthcheck?.test ?? [])];
      expect({ name, other: parts.filter((part) => typeof part !== 'string') }).toEqual({ name, other: [] });
    }
  });

  test('waits for services that are there, in a way in which they can be waited for', () => {
    for (const [name, { depends_on: needs = {} }] of services) {
      for (const [needed, { condition }] of Object.entries(needs)) {
        const { healthcheck, restart } = service(needed);
        const possible = healthcheck ? 'service_healthy' : 'service_completed_successfully';
        expect({ name, needed, condition }).toEqual({ name, needed, condition: possible });
        if (!healthcheck) expect({ needed, restart }).toEqual({ needed, restart: 'no' });
      }
    }
  });

  test('has something that waits for each service that ends, without which up --wait fails', () => {
    const ending = services.filter(([, { restart, profiles }]) => restart === 'no' && !profiles);
    const awaited = longRunning(compose).flatMap(([, { depends_on: needs = {} }]) => Object.keys(needs));
    expect(ending.map(([name]) => name)).toEqual(['migrate']);
    expect(awaited).toContain('migrate');
  });

  test('gives every part the same database and the same Temporal, which are services of it', () => {
    const { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB } = service('postgres').environment!;
    for (const name of ['migrate', 'worker', 'app']) {
      expect(service(name).environment).toEqual({
        DATABASE_URL: `postgres://${POSTGRES_USER}:${POSTGRES_PASSWORD}@postgres:5432/${POSTGRES_DB}`,
        TEMPORAL_ADDRESS: 'temporal:7233',
      });
    }
    expect(service('temporal-ui').environment).toEqual({ TEMPORAL_ADDRESS: 'temporal:7233' });
    expect(service('temporal').environment).toMatchObject({
      POSTGRES_SEEDS: 'postgres',
      POSTGRES_USER,
      POSTGRES_PWD: POSTGRES_PASSWORD,
    });
    expect(portsOf(service('postgres'))).toEqual([['127.0.0.1', '5432', '5432']]);
    expect(portsOf(service('temporal'))).toEqual([['127.0.0.1', '7233', '7233']]);
  });

  test('says in its head the addresses that it has', () => {
    const { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB } = service('postgres').environment!;
    const head = readText('docker-compose.yml').split('\nname:')[0];
    expect(head).toContain(
      `DATABASE_URL=postgres://${POSTGRES_USER}:${POSTGRES_PASSWORD}@127.0.0.1:5432/${POSTGRES_DB}`,
    );
    expect(head).toContain('TEMPORAL_ADDRESS=127.0.0.1:7233');
    const [[, port] = []] = portsOf(service('temporal-ui'));
    expect(head).toContain(`http://127.0.0.1:${port}`);
  });

  test('runs programs that the image has, by commands that the program knows', () => {
    const built = services.filter(([, { build }]) => build);
    for (const [name, { command }] of built) {
      const [node, file] = command!;
      expect({ name, node }).toEqual({ name, node: 'node' });
      const source = path.join(root, file!.replace(/^dist\/(.*)\.js$/, '$1.ts'));
      expect({ name, source: existsSync(source) }).toEqual({ name, source: true });
    }
    const [, file, verb] = service('migrate').command!;
    expect(file).toBe(bin['batch-jobs']);
    const output = { write: () => true };
    const { commands } = buildProgram({ stdout: output, stderr: output, env: {} });
    expect(commands.map((command) => command.name())).toContain(verb);
  });

  test('gives a worker longer to end than it takes', () => {
    const seconds = Number(/^(\d+)s$/.exec(service('worker').stop_grace_period!)![1]);
    expect(seconds).toBeGreaterThan(30);
  });
});

describe('examples/compose/Dockerfile', () => {
  const lines = dockerfile.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const argumentsOf = (instruction: string) =>
    lines.filter((line) => line.startsWith(`${instruction} `)).map((line) => line.split(' ').slice(1));

  test('is the one that docker-compose.yml builds, with the repository as its context', () => {
    for (const [, { build }] of services.filter(([, of]) => of.build)) {
      expect(build).toEqual({ context: '.', dockerfile: 'examples/compose/Dockerfile' });
    }
  });

  test('pins one image of Node, which the package supports', () => {
    const images = new Set(argumentsOf('FROM').map(([image]) => image));
    expect(images.size).toBe(1);
    const [, major, minor] = /^node:(\d+)\.(\d+)\.\d+-\w+-slim$/.exec([...images][0]!)!;
    const [, leastMajor, least] = /^>=(\d+)\.(\d+)$/.exec(engines.node)!;
    expect(Number(major)).toBe(Number(leastMajor));
    expect(Number(minor)).toBeGreaterThanOrEqual(Number(least));
  });

  test('copies what is there and what .dockerignore lets through, and nothing else is let through', () => {
    const copied = argumentsOf('COPY')
      .filter(([first]) => !first!.startsWith('--from'))
      .flatMap((parts) => parts.slice(0, -1));
    for (const source of copied)
      expect({ source, there: existsSync(path.join(root, source)) }).toEqual({ source, there: true });
    const ignore = readFileSync(path.join(root, '.dockerignore'), 'utf8').split('\n');
    const allowed = ignore.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
    expect(ignore).toContain('*');
    expect(allowed.sort()).toEqual(copied.sort());
  });

  test('does not run as root', () => {
    expect(argumentsOf('USER')).toEqual([['node']]);
  });
});
