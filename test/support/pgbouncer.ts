import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import getPort from 'get-port';
import pRetry from 'p-retry';

/** How to start it: the one on the path, or Debian's packages, unpacked in the user's cache. */
interface Program {
  readonly file: string;
  readonly env: NodeJS.ProcessEnv;
}

const PACKAGES = ['pgbouncer', 'libevent-2.1-7', 'libc-ares2'];

/** @returns undefined where there is none, and no `apt-get` that has it */
export async function findPgBouncer(): Promise<Program | undefined> {
  for (const program of [inPath(), inCache()]) if (await isUsable(program)) return program;
  try {
    await unpackPackages();
  } catch {
    return undefined;
  }
  return (await isUsable(inCache())) ? inCache() : undefined;
}

const cache = path.join(homedir(), '.cache', 'temporal-batch-jobs', 'pgbouncer');

function inPath(): Program {
  return { file: 'pgbouncer', env: { PATH: `${process.env['PATH']}:/usr/sbin:/usr/local/sbin` } };
}

function inCache(): Program {
  const libraries = path.join(
    cache,
    'usr/lib',
    `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`,
  );
  return { file: path.join(cache, 'usr/sbin/pgbouncer'), env: { LD_LIBRARY_PATH: libraries } };
}

async function isUsable({ file, env }: Program): Promise<boolean> {
  return (await execa(file, ['--version'], { env, reject: false })).exitCode === 0;
}

async function unpackPackages(): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'pgbouncer-'));
  try {
    await execa('apt-get', ['download', ...PACKAGES], { cwd: folder });
    for (const file of await readdir(folder))
      await execa('dpkg-deb', ['--extract', file, 'root'], { cwd: folder });
    await mkdir(path.dirname(cache), { recursive: true });
    await rename(path.join(folder, 'root'), cache);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export interface PgBouncer extends AsyncDisposable {
  /** Connection string of the same database, through it. */
  readonly url: string;
}

/** Starts a PgBouncer in transaction mode, with its defaults but for the number of its connections. */
export async function startPgBouncer(
  { file, env }: Program,
  databaseUrl: string,
  connections: number,
): Promise<PgBouncer> {
  const server = new URL(databaseUrl);
  const folder = await mkdtemp(path.join(tmpdir(), 'pgbouncer-'));
  const port = await getPort({ host: '127.0.0.1' });
  const config = path.join(folder, 'pgbouncer.ini');
  const users = path.join(folder, 'users.txt');
  const { username, password } = server;
  // It does not run as root.
  const isRoot = process.getuid?.() === 0;
  await writeFile(users, `"${decodeURIComponent(username)}" "${decodeURIComponent(password)}"\n`);
  await writeFile(
    config,
    `[databases]
* = host=${server.hostname} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${users}
pool_mode = transaction
default_pool_size = ${connections}
${isRoot ? 'user = nobody' : ''}
`,
  );
  const child = execa(file, [config], { env, reject: false, all: true });
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${port}`;
  const started = pRetry(() => once(createConnection(port, '127.0.0.1'), 'connect'), {
    retries: 100,
    factor: 1,
    minTimeout: 50,
  });
  const ended = child.then(({ all }) => {
    throw new Error(`PgBouncer did not start: ${all}`);
  });
  await Promise.race([started, ended]);
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await ended.catch(() => {});
      await rm(folder, { recursive: true, force: true });
    },
  };
}
