import { readFile } from 'node:fs/promises';
import type { WorkerOptions } from '@temporalio/worker';
import { InvalidOptionError } from './errors.ts';

/**
 * Checks that a bundle which was made ahead of time has the module that carries a tag.
 *
 * @throws {@link InvalidOptionError} where it has not
 */
export async function assertTagged(
  bundle: NonNullable<WorkerOptions['workflowBundle']>,
  tag: string,
  expected: string,
  remedy: string,
): Promise<void> {
  const code = 'code' in bundle ? bundle.code : await readFile(bundle.codePath, 'utf8');
  if (code.includes(tag)) return;
  const given = 'codePath' in bundle ? bundle.codePath : 'code that was made without it';
  throw new InvalidOptionError('workflowBundle', expected, given, remedy);
}
