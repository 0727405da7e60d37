import type { Duration } from '@temporalio/common';
import type { BatchSettings } from '../../workflows/batch-state.ts';
import { InvalidOptionError } from '../errors.ts';
import { toExactJson } from '../json-value.ts';
import {
  assertKnownKeys,
  assertName,
  assertPlainObject,
  assertWholeNumber,
  resolveDuration,
} from '../options.ts';

/** Options of `BatchClient.create`. */
export interface BatchOptions {
  /**
   * Anything JSON can carry exactly, up to 64 KiB: what callbacks need to know.
   * @default {}
   */
  readonly context?: Record<string, unknown>;
  /**
   * Continue the batch's workflows as new after so many history events at the latest. Lower it in tests only.
   * @default 4000
   */
  readonly continueAsNewAfterEvents?: number;
  /** What the batch is, for people: up to 500 characters. Shown in rows and in the Web UI. */
  readonly description: string;
  /**
   * A block from which nothing was heard for so long is closed by the batch itself, which then ends `failed`. A
   * slow block is not closed: its process sends signs of life.
   * @default '5 minutes'
   */
  readonly enrollmentTimeout?: Duration;
  /**
   * When a failed job decides the batch: once all jobs are terminal, or at once (never before the block is closed).
   * @default 'settled'
   */
  readonly failWhen?: 'settled' | 'immediate';
  /** Letters, digits and `_ . : -`, up to 128. The workflow id is `batch:` and this. @default a UUID */
  readonly id?: string;
  /** A batch whose block is never opened ends `failed` after so long. @default '1 day' */
  readonly openTimeout?: Duration;
  /** A job whose name no worker knows fails after so long; until then a worker that knows it may come up. @default '10 minutes' */
  readonly unknownJobTimeout?: Duration;
}

export interface ResolvedBatchOptions {
  readonly id: string;
  readonly description: string;
  readonly context: unknown;
  readonly settings: BatchSettings;
}

const KEYS = [
  'context',
  'continueAsNewAfterEvents',
  'description',
  'enrollmentTimeout',
  'failWhen',
  'id',
  'openTimeout',
  'unknownJobTimeout',
];

/** @throws {@link InvalidOptionError} @throws {@link InvalidArgumentsError} for a context that JSON cannot carry */
export function resolveBatchOptions(options: BatchOptions, newId: () => string): ResolvedBatchOptions {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, KEYS);
  const {
    context = {},
    continueAsNewAfterEvents = 4_000,
    description,
    enrollmentTimeout = '5 minutes',
    failWhen = 'settled',
    id = newId(),
    openTimeout = '1 day',
    unknownJobTimeout = '10 minutes',
  } = options;
  assertName('description', description, 500);
  assertBatchId(id);
  assertPlainObject('context', context);
  toExactJson('context', context);
  if (failWhen !== 'settled' && failWhen !== 'immediate') {
    throw new InvalidOptionError('failWhen', "'settled' or 'immediate'", failWhen);
  }
  assertWholeNumber('continueAsNewAfterEvents', continueAsNewAfterEvents, 20);
  return {
    id,
    description,
    context,
    settings: {
      failWhen,
      enrollmentTimeoutMs: resolveDuration('enrollmentTimeout', enrollmentTimeout),
      openTimeoutMs: resolveDuration('openTimeout', openTimeout),
      unknownJobTimeoutMs: resolveDuration('unknownJobTimeout', unknownJobTimeout),
      maxHistoryEvents: continueAsNewAfterEvents,
    },
  };
}

/** @throws {@link InvalidOptionError} */
export function assertBatchId(id: unknown): asserts id is string {
  if (typeof id !== 'string' || !/^[A-Za-z0-9_.:-]{1,128}$/.test(id)) {
    throw new InvalidOptionError('id', '1 to 128 letters, digits or _ . : -', id);
  }
}
