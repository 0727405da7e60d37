import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { BatchPlugin } from '../../src/index.ts';
import { bundleWorkflows } from '../support/workflow-bundle.ts';

/** Files with the app's workflows, for workers that report their ends to batches and for those that do not. */
export interface AppBundles {
  readonly reporting: string;
  readonly silent: string;
}

export async function bundleApp(folder: string): Promise<AppBundles> {
  // As this file: TypeScript, or compiled.
  const workflowsPath = fileURLToPath(
    new URL(`app-workflows${path.extname(import.meta.url)}`, import.meta.url),
  );
  const bundle = async (name: string, plugins: BatchPlugin[]) => {
    const own = path.join(folder, name);
    await mkdir(own);
    return bundleWorkflows(own, { workflowsPath, plugins });
  };
  return {
    reporting: await bundle('reporting', [new BatchPlugin()]),
    silent: await bundle('silent', []),
  };
}
