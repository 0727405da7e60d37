import type { Command } from 'commander';
import { assertBatchId } from '../../client/batch-options.ts';
import {
  selectOverview,
  selectOverviews,
  type BatchOverview,
  type OverviewFilter,
} from '../../database/overview.ts';
import { digits, oneLine } from '../../doctor/words.ts';
import { BatchNotFoundError } from '../../errors.ts';
import { resolveAge } from '../../options.ts';
import type { ListFlags } from '../commands/list.ts';
import { withDatabase } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { since, statusWord } from '../describe.ts';
import { painter, statusStyle, type Paint } from '../paint.ts';
import { print } from '../print.ts';
import { formatTable, type Column } from '../table.ts';
import { overviewJson } from './status.ts';

/** Prints batches, newest first. */
export async function runList(context: CliContext, flags: ListFlags, command: Command): Promise<void> {
  const filter = resolveFilter(flags);
  await withDatabase(context, flags, command, async (database) => {
    const { after } = filter;
    if (after !== undefined && !(await selectOverview(database, after))) throw new BatchNotFoundError(after);
    // One more than asked for tells whether there is a next page.
    const found = await selectOverviews(database, { ...filter, limit: flags.limit + 1 });
    const batches = found.slice(0, flags.limit);
    const next = found.length > batches.length ? batches.at(-1)!.id : null;
    print(context, flags, describe(batches, next, painter(context, context.stdout)), {
      batches: batches.map(overviewJson),
      next,
    });
  });
}

function resolveFilter({ status, newerThan, olderThan, description, parent, after }: ListFlags) {
  if (parent !== undefined) assertBatchId(parent);
  if (after !== undefined) assertBatchId(after);
  return {
    ...(status === undefined ? {} : { statuses: status }),
    ...(newerThan === undefined ? {} : { newerThanMs: resolveAge('newerThan', newerThan) }),
    ...(olderThan === undefined ? {} : { olderThanMs: resolveAge('olderThan', olderThan) }),
    ...(description === undefined ? {} : { text: description }),
    ...(parent === undefined ? {} : { parentId: parent }),
    ...(after === undefined ? {} : { after }),
  } satisfies Omit<OverviewFilter, 'limit'>;
}

const BASE_COLUMNS: readonly Column[] = [
  { title: 'id' },
  { title: 'status' },
  { title: 'done', align: 'right' },
  { title: 'jobs', align: 'right' },
  { title: 'failed', align: 'right' },
  { title: 'created' },
  { title: 'description' },
];

function describe(batches: readonly BatchOverview[], next: string | null, paint: Paint): string {
  if (batches.length === 0) return 'No batch.\n';
  const hasFailedCallbacks = batches.some((batch) => failedEvents(batch).length > 0);
  const columns = [...BASE_COLUMNS, ...(hasFailedCallbacks ? [{ title: 'callbacks' }] : [])];
  const rows = batches.map((batch) => {
    const word = statusWord(batch);
    const failed = failedEvents(batch);
    return [
      batch.id,
      paint(statusStyle(word), word),
      batch.percent === null ? '' : `${batch.percent} %`,
      digits(batch.total),
      batch.failed === 0 ? '0' : paint('red', digits(batch.failed)),
      since(batch.createdAt, batch.now),
      oneLine(batch.description, 60),
      ...(hasFailedCallbacks
        ? [failed.length === 0 ? '' : paint('red', `failed: ${failed.join(', ')}`)]
        : []),
    ];
  });
  const more = next === null ? '' : `\nThere are more: --after ${next}\n`;
  return `${formatTable(columns, rows, paint)}${more}`;
}

/** Events whose callbacks have failed for good. */
function failedEvents({ callbacks }: BatchOverview): string[] {
  return Object.entries(callbacks ?? {}).flatMap(([event, { status }]) =>
    status === 'failed' ? [event] : [],
  );
}
