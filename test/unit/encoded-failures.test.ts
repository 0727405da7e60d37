import { createRequire } from 'node:module';
import { DefaultFailureConverter, defaultPayloadConverter, type DataConverter } from '@temporalio/common';
import type { WorkerOptions } from '@temporalio/worker';
import { describe, expect, test } from 'vitest';
import { assertFailuresEncoded, EncodedFailures } from '../../src/worker/encoded-failures.ts';
import { failureConverterPath } from '../../src/worker/index.ts';
import { codec } from '../support/codec.ts';

const configured = (dataConverter?: DataConverter) =>
  new EncodedFailures().configureWorker({
    taskQueue: 'q',
    ...(dataConverter ? { dataConverter } : {}),
  } satisfies WorkerOptions).dataConverter;

describe('errors of a worker', () => {
  test('are encoded where it has a codec', () => {
    expect(configured({ payloadCodecs: [codec] })).toEqual({ payloadCodecs: [codec], failureConverterPath });
  });

  test.each([
    undefined,
    {},
    { payloadCodecs: [] },
    { payloadConverterPath: '/app/payload-converter' },
    { payloadCodecs: [codec], failureConverterPath: '/app/failure-converter' },
  ])('are left to Temporal, or to the converter of the app: %o', (dataConverter) => {
    expect(configured(dataConverter)).toEqual(dataConverter);
  });

  test('have their messages and stacks in a payload, those of their causes, too', () => {
    const { failureConverter } = createRequire(import.meta.url)(failureConverterPath) as {
      failureConverter: DefaultFailureConverter;
    };
    const error = new Error('outer', { cause: new RangeError('inner') });
    const failure = failureConverter.errorToFailure(error, defaultPayloadConverter);
    expect(failure).toMatchObject({ message: 'Encoded failure', cause: { message: 'Encoded failure' } });
    const plain = JSON.stringify({ ...failure, encodedAttributes: null, cause: failure.cause?.message });
    expect(plain).not.toMatch(/outer|inner/);
    const back = new DefaultFailureConverter().failureToError(failure, defaultPayloadConverter);
    expect(back).toMatchObject({ message: 'outer', cause: { message: 'inner' } });
  });
});

describe('a bundle that was made ahead', () => {
  const ours = { payloadCodecs: [codec], failureConverterPath };
  const { BUNDLE_TAG } = createRequire(import.meta.url)(failureConverterPath) as { BUNDLE_TAG: string };
  const refused = (option: string) => expect.objectContaining({ code: 'INVALID_OPTION', option });

  test('is refused beside a codec without what encodes errors', async () => {
    const check = assertFailuresEncoded({ dataConverter: ours }, { code: 'workflows();' });
    await expect(check).rejects.toEqual(refused('workflowBundle'));
    await expect(check).rejects.toThrow('bundleWorkflowCode({ workflowsPath, failureConverterPath })');
  });

  test('is taken with it, without a codec, and with a failure converter of the app', async () => {
    await assertFailuresEncoded({ dataConverter: ours }, { code: `const tag = '${BUNDLE_TAG}';` });
    await assertFailuresEncoded({}, { code: 'workflows();' });
    const own = { payloadCodecs: [codec], failureConverterPath: '/app/failure-converter' };
    expect(await assertFailuresEncoded({ dataConverter: own }, { code: 'workflows();' })).toBeUndefined();
  });

  test('is refused where a codec came too late to be seen, by a plugin of the connection', async () => {
    const check = assertFailuresEncoded({ dataConverter: { payloadCodecs: [codec] } }, undefined);
    await expect(check).rejects.toEqual(refused('dataConverter'));
  });
});
