import { fileURLToPath } from 'node:url';
import type { DataConverter } from '@temporalio/common';
import type { WorkerOptions, WorkerPlugin } from '@temporalio/worker';
import { assertTagged } from '../bundle-tag.ts';
import { InvalidOptionError } from '../errors.ts';

/**
 * A failure converter that encodes messages and stacks of errors: for `failureConverterPath` of `bundleWorkflowCode`,
 * where a worker has payload codecs and a bundle made ahead of time. A worker without such a bundle uses it by itself.
 */
export const failureConverterPath: string = fileURLToPath(
  new URL('../../workflows/failure-converter.cjs', import.meta.url),
);

/** `BUNDLE_TAG` of workflows/failure-converter.cjs. */
const BUNDLE_TAG = 'temporal-batch-jobs: errors of the workflows of this bundle are encoded';

/**
 * Temporal leaves messages of errors in clear text, also where the app has a codec. They are data of the app, so with a
 * codec they go through it, unless the app has a failure converter of its own.
 */
export class EncodedFailures implements WorkerPlugin {
  readonly name = 'temporal-batch-jobs/encoded-failures';

  configureWorker(options: WorkerOptions): WorkerOptions {
    const { dataConverter } = options;
    if (!hasCodec(dataConverter) || dataConverter?.failureConverterPath !== undefined) return options;
    return { ...options, dataConverter: { ...dataConverter, failureConverterPath } };
  }
}

/** @throws {@link InvalidOptionError} where errors of workflows would be in clear text beside a codec */
export async function assertFailuresEncoded(
  { dataConverter }: Pick<WorkerOptions, 'dataConverter'>,
  bundle: WorkerOptions['workflowBundle'],
): Promise<void> {
  if (!hasCodec(dataConverter)) return;
  const remedy =
    'Give it failureConverterPath of temporal-batch-jobs/worker, or of a failure converter of your own.';
  if (dataConverter?.failureConverterPath === undefined) {
    throw new InvalidOptionError(
      'dataConverter',
      'with a failureConverterPath where it has payloadCodecs',
      'one without',
      `A plugin of the connection sets it. ${remedy}`,
    );
  }
  if (!bundle || dataConverter.failureConverterPath !== failureConverterPath) return;
  await assertTagged(
    bundle,
    BUNDLE_TAG,
    'made with failureConverterPath, because the data converter has payloadCodecs',
    'Messages of errors would be in histories in clear text. Make it by bundleWorkflowCode({ workflowsPath, ' +
      'failureConverterPath }), both of temporal-batch-jobs/worker.',
  );
}

function hasCodec(dataConverter: DataConverter | undefined): boolean {
  return (dataConverter?.payloadCodecs?.length ?? 0) > 0;
}
