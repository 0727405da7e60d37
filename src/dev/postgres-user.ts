import { chown } from 'node:fs/promises';
import { execa } from 'execa';
import { DevServerError } from './errors.ts';

/** Who runs Postgres; empty for the user of this process. */
export interface PostgresUser {
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Chooses who runs Postgres, which refuses to run as root: root hands over to the system user `postgres`, which
 * is created when missing. That is the rule in many containers and CI jobs.
 *
 * @throws {@link DevServerError} when the user cannot be created.
 */
export async function postgresUser(): Promise<PostgresUser> {
  if (process.getuid?.() !== 0) return {};
  const known = await lookUp();
  if (known !== undefined) return known;
  const created = await execa('useradd', ['--system', '--user-group', 'postgres'], { reject: false });
  const user = await lookUp();
  if (user === undefined) {
    throw new DevServerError(
      `Postgres does not run as root, and its user could not be created (${created.shortMessage}). Create a user named postgres, or run as another user than root.`,
    );
  }
  return user;
}

/** Gives a path to the user who runs Postgres. */
export async function giveTo(user: PostgresUser, path: string): Promise<void> {
  if (user.uid !== undefined && user.gid !== undefined) await chown(path, user.uid, user.gid);
}

async function lookUp(): Promise<PostgresUser | undefined> {
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map(async (flag) => {
      const { stdout } = await execa('id', [flag, 'postgres'], { reject: false });
      return /^\d+$/.test(stdout) ? Number(stdout) : undefined;
    }),
  );
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}
