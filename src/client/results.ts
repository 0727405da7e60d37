import { InvalidOptionError } from '../errors.ts';
import { isJob } from '../jobs/define-job.ts';
import { assertKnownKeys, assertName, assertPlainObject, assertWholeNumber } from '../options.ts';

/** Options of `Batch.eachResult`. */
export interface EachResultOptions {
  /**
   * Most results that one query reads, and that are in memory together. Of large ones it reads fewer: as many as hold
   * 4 MiB with their arguments.
   * @default 1000
   */
  readonly pageSize?: number;
  /** Only results of jobs of this name. @default all */
  readonly workerClass?: string;
}

/** What is stored of what a handler returns: of undefined nothing is. */
export type StoredResult<Result> = Exclude<Result, undefined | void>;

interface ResolvedEachResult {
  readonly pageSize: number;
  readonly workerClass?: string;
}

/** @throws {@link InvalidOptionError} */
export function resolveEachResult(jobOrOptions: object, optionsOfJob: object): ResolvedEachResult {
  if (!isJob(jobOrOptions)) return resolve(jobOrOptions, ['pageSize', 'workerClass']);
  const { name, storesResult } = jobOrOptions;
  if (!storesResult) throw new InvalidOptionError('job', 'defined with storeResult: true', name);
  return { ...resolve(optionsOfJob, ['pageSize']), workerClass: name };
}

function resolve(options: EachResultOptions, known: readonly string[]): ResolvedEachResult {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, known);
  const { pageSize = 1_000, workerClass } = options;
  assertWholeNumber('pageSize', pageSize, 1);
  if (workerClass !== undefined) assertName('workerClass', workerClass);
  return { pageSize, ...(workerClass === undefined ? {} : { workerClass }) };
}

/** Rows that were read together. */
interface Page<Row> {
  readonly rows: readonly Row[];
  /** Whether no further row was there. */
  readonly isLast: boolean;
}

/**
 * Rows in the order of their positions, a page at a time: each begins after the last position of the one before, so
 * that what is written or deleted meanwhile neither repeats a row nor skips one.
 *
 * @param read reads the next page, with positions above the given one
 */
export async function* inPages<Row extends { readonly position: number }>(
  read: (after: number) => Promise<Page<Row>>,
): AsyncGenerator<Row, void, undefined> {
  let page: Page<Row>;
  let after = 0;
  do {
    page = await read(after);
    yield* page.rows;
    after = page.rows.at(-1)?.position ?? after;
  } while (!page.isLast);
}
