import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { findOnPath } from './executables.ts';

/** A way to get the `temporal` program: its path, or why this way does not lead to one. */
export type BinaryAttempt = { readonly path: string } | { readonly problem: string };

/** The last release that `go install` takes: later ones have a replace line in their go.mod. */
const GO_VERSION = 'v1.5.1';
const GO_PACKAGE = 'github.com/temporalio/cli/cmd/temporal';
/** File name of a build in the cache folder. */
export const GO_BUILD_NAME = `temporal-${GO_VERSION}`;
/** How the SDK starts the name of a file that it downloaded; the SDK's version follows. */
export const SDK_DOWNLOAD_PREFIX = 'temporal-sdk-typescript-';

const DOWNLOAD_TIMEOUT_MS = 180_000;
const DOWNLOAD_START_TIMEOUT_MS = 15_000;
const CHECK_INTERVAL_MS = 100;

// The SDK downloads as a step of starting a server; this one is stopped at once.
const DOWNLOAD_SCRIPT = `
const { default: { TestWorkflowEnvironment } } = await import(process.argv[1]);
const executable = { type: 'cached-download', downloadDir: process.argv[2] };
const environment = await TestWorkflowEnvironment.createLocal({ server: { executable } });
await environment.teardown();
`;

/**
 * Lets the TypeScript SDK download the `temporal` program into the cache folder.
 *
 * A process of its own does it: in this one it would install the SDK's global runtime, which the caller may want
 * to configure, and could not be given up.
 */
export async function downloadThroughSdk(
  cacheDir: string,
  log: (line: string) => void,
): Promise<BinaryAttempt> {
  const label = 'download by the Temporal SDK';
  let testing: string;
  try {
    testing = import.meta.resolve('@temporalio/testing');
    await access(new URL(testing));
  } catch {
    return { problem: `${label}: the package @temporalio/testing is not installed` };
  }
  await mkdir(cacheDir, { recursive: true });
  log('Asking the Temporal SDK to download the Temporal development server.');
  const abort = new AbortController();
  const download = execa(
    process.execPath,
    ['--input-type=module', '--eval', DOWNLOAD_SCRIPT, testing, cacheDir],
    { stdin: 'ignore', timeout: DOWNLOAD_TIMEOUT_MS, cancelSignal: abort.signal, reject: false },
  );
  const done = new AbortController();
  const finished = download.finally(() => done.abort());
  // A network that drops packets would hold this up for minutes: no file after a while means no such network.
  const startDeadline = Date.now() + DOWNLOAD_START_TIMEOUT_MS;
  while (!done.signal.aborted && (await downloads(cacheDir)).length === 0) {
    if (Date.now() >= startDeadline) abort.abort();
    await delay(CHECK_INTERVAL_MS);
  }
  const result = await finished;
  const file = (await downloads(cacheDir)).find((name) => !name.endsWith('.downloading'));
  if (file !== undefined) return { path: path.join(cacheDir, file) };
  return { problem: `${label}: ${abort.signal.aborted ? 'did not start in time' : reason(result)}` };
}

/** Builds the `temporal` program with Go into the cache folder. */
export async function buildWithGo(
  cacheDir: string,
  env: NodeJS.ProcessEnv,
  log: (line: string) => void,
): Promise<BinaryAttempt> {
  const go = await findOnPath('go', env);
  if (go === undefined) return { problem: 'build with Go: `go` is not on the PATH' };
  await mkdir(cacheDir, { recursive: true });
  // Beside its destination, so that the rename is atomic and another process never runs half a file.
  const buildDir = await mkdtemp(path.join(cacheDir, 'build-'));
  try {
    log(
      `Building the Temporal development server ${GO_VERSION} with Go, once. This takes about 4 minutes on 2 cores.`,
    );
    const result = await execa(go, ['install', `${GO_PACKAGE}@${GO_VERSION}`], {
      env: { ...env, GOBIN: buildDir },
      extendEnv: false,
      stdin: 'ignore',
      reject: false,
    });
    if (result.failed) return { problem: `build with Go: ${reason(result)}` };
    const [program] = await readdir(buildDir);
    if (program === undefined) return { problem: 'build with Go: it left no program' };
    const destination = path.join(cacheDir, GO_BUILD_NAME);
    await rename(path.join(buildDir, program), destination);
    log(`Built ${destination}.`);
    return { path: destination };
  } finally {
    await rm(buildDir, { recursive: true, force: true });
  }
}

async function downloads(cacheDir: string): Promise<string[]> {
  return (await readdir(cacheDir)).filter((name) => name.startsWith(SDK_DOWNLOAD_PREFIX));
}

/** The line of a program's output that says what went wrong. */
function reason(result: { readonly stderr: string; readonly shortMessage?: string | undefined }): string {
  const lines = result.stderr.split('\n').map((line) => line.trim());
  const line = lines.find((text) => /error/i.test(text)) ?? lines.findLast((text) => text !== '');
  return (line ?? result.shortMessage ?? 'failed').slice(0, 500);
}
