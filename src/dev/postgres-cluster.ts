import { randomBytes } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { DevServerError } from './errors.ts';
import { findPostgresBinaries, usableBinaries } from './postgres-binaries.ts';
import { giveTo, postgresUser, type PostgresUser } from './postgres-user.ts';

/** A database cluster on disk, ready to be served. */
export interface PostgresCluster {
  /** Folder for `postgres -D`. */
  readonly dataDir: string;
  readonly postgres: string;
  readonly user: PostgresUser;
  readonly password: string;
  /** Environment for the Postgres programs. */
  readonly env: NodeJS.ProcessEnv;
  /** Removes the cluster where it is temporary. */
  remove(): Promise<void>;
}

/** Name of the superuser that owns everything in a cluster. */
export const SUPERUSER = 'postgres';

/**
 * Creates a cluster, or opens the one that an earlier run left in `persistentDir`.
 *
 * @throws {@link DevServerError} when Postgres is not there or cannot initialise the folder.
 */
export async function openCluster(
  persistentDir: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<PostgresCluster> {
  const [found, user] = await Promise.all([findPostgresBinaries(), postgresUser()]);
  const home =
    persistentDir === undefined
      ? await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-postgres-'))
      : path.resolve(persistentDir);
  const remove = async (): Promise<void> => {
    if (persistentDir === undefined) await rm(home, { recursive: true, force: true });
  };
  try {
    await mkdir(home, { recursive: true });
    if (persistentDir === undefined) await giveTo(user, home);
    const binaries = await usableBinaries(found, user, path.join(home, 'postgres-programs'));
    const dataDir = path.join(home, 'postgres');
    const passwordFile = path.join(home, 'postgres-password');
    const programEnv = postgresEnvironment(env);
    if (!(await exists(path.join(dataDir, 'PG_VERSION')))) {
      await initialise({ binaries, user, dataDir, passwordFile, env: programEnv });
    }
    const password = (await readFile(passwordFile, 'utf8')).trim();
    return { dataDir, postgres: binaries.postgres, user, password, env: programEnv, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function initialise(cluster: {
  readonly binaries: { readonly initdb: string };
  readonly user: PostgresUser;
  readonly dataDir: string;
  readonly passwordFile: string;
  readonly env: NodeJS.ProcessEnv;
}): Promise<void> {
  const { binaries, user, dataDir, passwordFile, env } = cluster;
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  await giveTo(user, dataDir);
  // A superuser can run programs: without a password, everybody on a shared machine could do so as this user.
  await writeFile(passwordFile, `${randomBytes(12).toString('hex')}\n`, { mode: 0o600 });
  await giveTo(user, passwordFile);
  const result = await execa(
    binaries.initdb,
    [
      `--pgdata=${dataDir}`,
      `--username=${SUPERUSER}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
      '--no-instructions',
    ],
    { ...user, cwd: '/', env, extendEnv: false, reject: false },
  );
  if (result.failed) {
    throw new DevServerError(
      `Postgres could not create its data in ${dataDir}${user.uid === undefined ? '' : ' (running as the user postgres, who needs access to that path)'}.\n${result.message}`,
    );
  }
}

/** Without the caller's `PG…` variables, and with a locale that exists everywhere. */
function postgresEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = Object.entries(env).filter(([name]) => !name.startsWith('PG') && !name.startsWith('LC_'));
  return { ...Object.fromEntries(own), LC_ALL: 'C' };
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
