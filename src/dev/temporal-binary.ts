import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { DevServerError } from './errors.ts';
import { findOnPath, isExecutable } from './executables.ts';
import { environmentValue, type ResolvedBaseOptions } from './options.ts';
import {
  buildWithGo,
  downloadThroughSdk,
  GO_BUILD_NAME,
  SDK_DOWNLOAD_PREFIX,
  type BinaryAttempt,
} from './temporal-install.ts';

/**
 * Finds the `temporal` program, and gets one where there is none: `TEMPORAL_CLI_PATH`, the PATH, the cache of
 * earlier builds and downloads, what the TypeScript SDK downloads, and a build with Go.
 *
 * @returns its path
 * @throws {@link DevServerError} that lists what was tried
 */
export async function findTemporalBinary(options: ResolvedBaseOptions): Promise<string> {
  const { env, log } = options;
  const chosen = environmentValue(env, 'TEMPORAL_CLI_PATH');
  if (chosen !== undefined) {
    if (await isExecutable(chosen)) return chosen;
    // Falling back would hide that the setting has no effect.
    throw new DevServerError(`TEMPORAL_CLI_PATH is "${chosen}", which is not an executable file.`);
  }
  const cacheDir = temporalCacheDir(env);
  const ways: readonly (() => Promise<BinaryAttempt>)[] = [
    () => onPath(env),
    () => inCache(cacheDir),
    () => downloadThroughSdk(cacheDir, log),
    () => buildWithGo(cacheDir, env, log),
  ];
  const problems: string[] = [];
  for (const way of ways) {
    const attempt = await way();
    if ('path' in attempt) return attempt.path;
    problems.push(attempt.problem);
  }
  throw new DevServerError(
    [
      'No Temporal server for development was found. Tried:',
      '- TEMPORAL_ADDRESS and TEMPORAL_CLI_PATH: not set',
      ...problems.map((problem) => `- ${problem}`),
      'Install the Temporal CLI so that `temporal` is on the PATH, or set TEMPORAL_CLI_PATH to it, or set',
      'TEMPORAL_ADDRESS to a server that runs already.',
    ].join('\n'),
  );
}

/** Folder that keeps builds and downloads of the `temporal` program between runs. */
export function temporalCacheDir(env: NodeJS.ProcessEnv): string {
  const cacheHome = environmentValue(env, 'XDG_CACHE_HOME') ?? path.join(homedir(), '.cache');
  return path.join(cacheHome, 'temporal-batch-jobs', 'bin');
}

async function onPath(env: NodeJS.ProcessEnv): Promise<BinaryAttempt> {
  const found = await findOnPath('temporal', env);
  return found === undefined ? { problem: '`temporal` on the PATH: not found' } : { path: found };
}

async function inCache(cacheDir: string): Promise<BinaryAttempt> {
  const names = await readdir(cacheDir).catch((): string[] => []);
  const downloads = names.filter(
    (name) => name.startsWith(SDK_DOWNLOAD_PREFIX) && !name.endsWith('.downloading'),
  );
  for (const name of [GO_BUILD_NAME, ...downloads.toSorted().toReversed()]) {
    const file = path.join(cacheDir, name);
    if (await isExecutable(file)) return { path: file };
  }
  return { problem: `${cacheDir}: holds no earlier build or download` };
}
