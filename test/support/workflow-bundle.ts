import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger, type BundlerPlugin } from '@temporalio/worker';

const WORKFLOWS = fileURLToPath(new URL('../../workflows', import.meta.url));

/** Bundles workflows once for many workers, into a folder: the library's, or those of a file. @returns the file */
export async function bundleWorkflows(
  folder: string,
  workflowsPath = WORKFLOWS,
  plugins: BundlerPlugin[] = [],
): Promise<string> {
  const { code } = await bundleWorkflowCode({
    workflowsPath,
    plugins,
    logger: new DefaultLogger('ERROR'),
  });
  const file = path.join(folder, 'workflows.js');
  await writeFile(file, code);
  return file;
}
