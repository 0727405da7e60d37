import { fileURLToPath } from 'node:url';

/**
 * The module with which workflows report their end: for `workflowInterceptorModules` of `bundleWorkflowCode`, where a
 * bundle is made without `BatchPlugin`. Without an extension: the bundler finds `.ts` in the sources and `.js` in the
 * package.
 */
export const workflowInterceptorModules: string[] = [
  fileURLToPath(new URL('../../workflows/report-end', import.meta.url)),
];
