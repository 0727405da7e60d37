import { MIN_PER_SECOND } from '../../workflows/limits.ts';
import {
  deleteLimit,
  selectLimits,
  upsertLimit,
  type LimitRow,
  type LimitValues,
} from '../database/limits.ts';
import { InvalidOptionError } from '../errors.ts';
import { assertKnownKeys, assertName, assertPlainObject, assertWholeNumber } from '../options.ts';
import type { BatchClient } from './batch-client.ts';

/** The maximums of a limit. Give at least one. A maximum of 0 lets nothing start. */
export interface LimitOptions {
  /** Jobs that run at once: up to 1,000,000. @default any number */
  readonly maxConcurrent?: number;
  /** Jobs that start in a second: up to 100,000; also less than one, 0.5 is one in two seconds. @default any number */
  readonly perSecond?: number;
  /** Maximums of each key. They do not bind jobs without a key. @default none */
  readonly perKey?: KeyLimitOptions;
}

/** The maximums of each key of a limit. */
export interface KeyLimitOptions {
  /** Jobs of one key that run at once: up to 1,000,000. @default any number */
  readonly maxConcurrent?: number;
}

const MAX_CONCURRENT = 1_000_000;
const MAX_PER_SECOND = 100_000;

/** A limit and its current use. */
export interface LimitRecord extends LimitOptions {
  readonly name: string;
  /** Running jobs under the limit. */
  readonly running: number;
  /** Permits that workers hold, for running jobs and for their next jobs. */
  readonly permitsOut: number;
  /** Jobs that wait in workers for a permit. Jobs that no worker holds are not counted. */
  readonly waiting: number;
  readonly createdAt: Date;
  /** Time of the last `set`. */
  readonly updatedAt: Date;
}

/**
 * Manages named limits, for an API or a tenant: `batches.limits`. Jobs name their limit with the option `limit`. A limit
 * belongs to the schema and holds over all its batches, task queues and workers, by the database's clock.
 *
 * Workers lease permits for 10 s and renew the leases each second. Keys share permits evenly, whatever their backlog, and
 * take turns when there are fewer permits than keys.
 *
 * @example
 * await batches.limits.set('stripe', { maxConcurrent: 20, perSecond: 100, perKey: { maxConcurrent: 2 } });
 */
export class Limits {
  readonly #batches: BatchClient;

  /** @internal */
  constructor(batches: BatchClient) {
    this.#batches = batches;
  }

  /**
   * Creates or replaces a limit. A maximum that is not given is removed. Workers follow the change within 2 s, and running
   * jobs finish. Jobs that left their worker while they waited return within a minute.
   *
   * @throws {@link InvalidOptionError} @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError}
   * @throws {@link DatabaseRefusedError}
   */
  async set(name: string, options: LimitOptions): Promise<LimitRecord> {
    assertName('name', name);
    const limit = resolveLimit(options);
    await this.#batches.ready();
    const { database } = this.#batches;
    const [row] = await this.#batches.read(async () => {
      await upsertLimit(database, { name, ...limit });
      return selectLimits(database, name);
    });
    return toRecord(row!);
  }

  /**
   * Reads a limit and its current use.
   *
   * @returns undefined if no limit has this name
   * @throws {@link InvalidOptionError} @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError}
   */
  async get(name: string): Promise<LimitRecord | undefined> {
    assertName('name', name);
    await this.#batches.ready();
    const [row] = await this.#batches.read(() => selectLimits(this.#batches.database, name));
    return row && toRecord(row);
  }

  /** Lists all limits by name. @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError} */
  async list(): Promise<LimitRecord[]> {
    await this.#batches.ready();
    return (await this.#batches.read(() => selectLimits(this.#batches.database))).map(toRecord);
  }

  /**
   * Deletes a limit. Jobs that wait for it in workers start within 2 s, and jobs that left their worker within a minute.
   * New jobs under it are refused.
   *
   * @returns whether there was one
   * @throws {@link InvalidOptionError} @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError}
   * @throws {@link DatabaseRefusedError}
   */
  async delete(name: string): Promise<boolean> {
    assertName('name', name);
    await this.#batches.ready();
    return this.#batches.read(() => deleteLimit(this.#batches.database, name));
  }
}

/** @throws {@link InvalidOptionError} */
export function resolveLimit(options: LimitOptions): LimitValues {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, ['maxConcurrent', 'perKey', 'perSecond']);
  const { maxConcurrent, perSecond, perKey } = options;
  assertConcurrent('maxConcurrent', maxConcurrent);
  if (perSecond !== undefined && !isRate(perSecond))
    throw new InvalidOptionError('perSecond', `0, or a number from 1/86400 to ${MAX_PER_SECOND}`, perSecond);
  if (perKey !== undefined) {
    assertPlainObject('perKey', perKey);
    assertKnownKeys('perKey', perKey, ['maxConcurrent']);
    assertConcurrent('perKey.maxConcurrent', perKey.maxConcurrent);
  }
  if (maxConcurrent === undefined && perSecond === undefined && perKey?.maxConcurrent === undefined) {
    throw new InvalidOptionError(
      'options',
      'maxConcurrent, perSecond or perKey: { maxConcurrent }',
      options,
      'A limit that allows anything is deleted with batches.limits.delete.',
    );
  }
  return {
    max_concurrent: maxConcurrent ?? null,
    per_second: perSecond ?? null,
    key_max_concurrent: perKey?.maxConcurrent ?? null,
  };
}

function assertConcurrent(option: string, value: unknown): void {
  if (value === undefined) return;
  assertWholeNumber(option, value, 0);
  if (value > MAX_CONCURRENT) throw new InvalidOptionError(option, `at most ${MAX_CONCURRENT}`, value);
}

function isRate(perSecond: number): boolean {
  return perSecond === 0 || (perSecond >= MIN_PER_SECOND && perSecond <= MAX_PER_SECOND);
}

export function toRecord(row: LimitRow): LimitRecord {
  return {
    name: row.name,
    ...(row.max_concurrent === null ? {} : { maxConcurrent: row.max_concurrent }),
    ...(row.per_second === null ? {} : { perSecond: row.per_second }),
    ...(row.key_max_concurrent === null ? {} : { perKey: { maxConcurrent: row.key_max_concurrent } }),
    running: row.running,
    permitsOut: row.permits_out,
    waiting: row.waiting,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
