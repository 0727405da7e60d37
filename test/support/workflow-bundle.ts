import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger, type BundleOptions } from '@temporalio/worker';

const WORKFLOWS = fileURLToPath(new URL('../../workflows', import.meta.url));
// As this file: TypeScript, or compiled.
const TIMEOUTS = fileURLToPath(
  new URL(`../../workflows/timeouts${path.extname(import.meta.url)}`, import.meta.url),
);

export interface WorkflowBundleOptions extends Omit<BundleOptions, 'workflowsPath'> {
  /** @default the library's workflows */
  readonly workflowsPath?: string;
  /** @default BATCH_JOBS_TIMEOUT_SCALE, as for processes */
  readonly timeoutScale?: string | undefined;
}

/**
 * Bundles workflows once for many workers, into a folder. The sandbox has no environment, so a module in the bundle
 * sets the scale of the timeouts.
 *
 * @returns the file
 */
export async function bundleWorkflows(
  folder: string,
  {
    workflowsPath = WORKFLOWS,
    timeoutScale = process.env['BATCH_JOBS_TIMEOUT_SCALE'],
    ...options
  }: WorkflowBundleOptions = {},
): Promise<string> {
  const modules = timeoutScale ? [await writeScale(folder, timeoutScale)] : [];
  const { code } = await bundleWorkflowCode({
    logger: new DefaultLogger('ERROR'),
    workflowsPath,
    ...options,
    workflowInterceptorModules: [...modules, ...(options.workflowInterceptorModules ?? [])],
  });
  const file = path.join(folder, 'workflows.js');
  await writeFile(file, code);
  return file;
}

async function writeScale(folder: string, timeoutScale: string): Promise<string> {
  const file = path.join(folder, 'timeout-scale.js');
  await writeFile(
    file,
    `import { setTimeoutScale } from ${JSON.stringify(TIMEOUTS)};
     setTimeoutScale(${timeoutScale});
     export const interceptors = () => ({});\n`,
  );
  return file;
}

const ofApps = new Map<string, Promise<string>>();

/** Bundles workflows of an app, once in a process: that takes seconds of CPU. @returns the code */
export function bundleOfApp(workflowsPath: string): Promise<string> {
  const bundle = ofApps.get(workflowsPath) ?? makeBundleOfApp(workflowsPath);
  ofApps.set(workflowsPath, bundle);
  return bundle;
}

async function makeBundleOfApp(workflowsPath: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-app-'));
  try {
    return await readFile(await bundleWorkflows(folder, { workflowsPath }), 'utf8');
  } finally {
    await rm(folder, { recursive: true });
  }
}
