import type { Knex } from 'knex';
import type { BatchEvent, BatchStatus } from '../../workflows/batch-state.ts';
import type { Limit } from '../../workflows/limits.ts';
import type { Database } from './connect.ts';
import { JOB_COLUMNS, type CallbackRow, type JobRecord, type JobStatus } from './rows.ts';

/** A batch as the view batch_progress shows it: where it stands and how fast it goes. */
export interface BatchOverview {
  readonly id: string;
  readonly description: string;
  readonly status: BatchStatus;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly pending: number;
  readonly percent: number | null;
  readonly jobsPerSecond: number;
  readonly etaSeconds: number | null;
  /** Since its row changed last; null once it has settled. */
  readonly idleSeconds: number | null;
  readonly enrollmentError: string | null;
  readonly failureReason: string | null;
  readonly failWhenFailed: string;
  readonly limits: (Limit & { readonly jobLimits?: Readonly<Record<string, Limit>> }) | null;
  readonly parentId: string | null;
  readonly round: number;
  readonly callbacks: Readonly<Partial<Record<BatchEvent, CallbackOverview>>> | null;
  readonly deadlineAt: Date | null;
  readonly pausedAt: Date | null;
  readonly stoppedAt: Date | null;
  readonly stopReason: string | null;
  readonly createdAt: Date;
  readonly sealedAt: Date | null;
  readonly completedAt: Date | null;
  readonly settledAt: Date | null;
  /** The database's clock when this was read. */
  readonly now: Date;
}

export interface CallbackOverview extends Pick<CallbackRow, 'callback' | 'status' | 'attempts'> {
  readonly errorClass?: string;
  readonly errorMessage?: string;
}

const PLAIN_COLUMNS = {
  id: 'id',
  description: 'description',
  status: 'status',
  total: 'total',
  complete: 'complete',
  failed: 'failed',
  cancelled: 'cancelled',
  pending: 'pending',
  enrollmentError: 'enrollment_error',
  failureReason: 'failure_reason',
  failWhenFailed: 'fail_when_failed',
  limits: 'limits',
  parentId: 'parent_batch_id',
  round: 'round',
  callbacks: 'callbacks',
  deadlineAt: 'deadline_at',
  pausedAt: 'paused_at',
  stoppedAt: 'stopped_at',
  stopReason: 'stop_reason',
  createdAt: 'created_at',
  sealedAt: 'sealed_at',
  completedAt: 'completed_at',
  settledAt: 'settled_at',
} as const satisfies Partial<Record<keyof BatchOverview, string>>;

/** Numbers and seconds, which the driver would give as text and objects. */
const COMPUTED_COLUMNS = `percent::double precision as percent, jobs_per_second::double precision as "jobsPerSecond",
  extract(epoch from eta)::double precision as "etaSeconds",
  extract(epoch from idle)::double precision as "idleSeconds", now() as now`;

export async function selectOverview(
  database: Database,
  batchId: string,
): Promise<BatchOverview | undefined> {
  const [overview] = await overviewsOf(database, batchId);
  return overview;
}

/** At most one row by the primary key, whatever the size of the batch; its callbacks by theirs. */
export function overviewsOf(database: Database, batchId: string): Knex.QueryBuilder<object, BatchOverview[]> {
  return overviews(database).where({ id: batchId });
}

export interface OverviewFilter {
  readonly statuses?: readonly BatchStatus[];
  /** Created less long ago. */
  readonly newerThanMs?: number;
  /** Created longer ago. */
  readonly olderThanMs?: number;
  /** In the description, whatever the case. */
  readonly text?: string;
  readonly parentId?: string;
  /** Those that come after this batch in the list. */
  readonly after?: string;
  readonly limit: number;
}

/** Newest first; served by batches_created_at, also from the middle of the list. */
export function selectOverviews(
  database: Database,
  { statuses, newerThanMs, olderThanMs, text, parentId, after, limit }: OverviewFilter,
): Knex.QueryBuilder<object, BatchOverview[]> {
  const query = overviews(database).orderBy('created_at', 'desc').orderBy('id').limit(limit);
  if (statuses !== undefined) query.whereIn('status', [...statuses]);
  if (newerThanMs !== undefined)
    query.whereRaw(`created_at > now() - ? * interval '1 millisecond'`, [newerThanMs]);
  if (olderThanMs !== undefined)
    query.whereRaw(`created_at < now() - ? * interval '1 millisecond'`, [olderThanMs]);
  if (text !== undefined) query.whereRaw('strpos(lower(description), lower(?)) > 0', [text]);
  if (parentId !== undefined) query.where({ parent_batch_id: parentId });
  if (after !== undefined) {
    // In SQL: a Date has lost the microseconds of its time.
    const createdAt = () =>
      database.knex
        .withSchema(database.schema)
        .from('batch_progress')
        .where({ id: after })
        .select('created_at');
    query
      .where('created_at', '<=', createdAt())
      .where((or) => void or.where('created_at', '<', createdAt()).orWhere('id', '>', after));
  }
  return query;
}

function overviews({ knex, schema }: Database): Knex.QueryBuilder<object, BatchOverview[]> {
  return knex
    .withSchema(schema)
    .from('batch_progress')
    .select<BatchOverview[]>(PLAIN_COLUMNS, knex.raw(COMPUTED_COLUMNS));
}

/** Jobs of one error class and message. */
export interface FailureGroup {
  readonly errorClass: string;
  readonly errorMessage: string;
  readonly jobs: number;
  /** The first of them. */
  readonly samples: readonly FailureSample[];
}

export interface FailureSample {
  readonly jid: string;
  readonly workerClass: string;
  readonly attempts: number;
  /** Where its last error was thrown; null: that was not stored. */
  readonly errorStack: string | null;
  /** If they were asked for. */
  readonly args?: readonly unknown[];
}

export interface FailureGroups {
  /** Those with the most jobs first. */
  readonly groups: readonly FailureGroup[];
  /** How many there are, with those that the limit cut off. */
  readonly total: number;
}

/**
 * Why jobs of a batch failed. Served by batch_jobs_errors: what succeeded is not read, nor are arguments unless they are
 * asked for.
 */
export async function selectFailureGroups(
  { knex, schema }: Database,
  batchId: string,
  {
    limit,
    samples,
    args = false,
  }: { readonly limit: number; readonly samples: number; readonly args?: boolean },
): Promise<FailureGroups> {
  const { rows } = await knex.raw(
    `with ranked as (
       select error_class, error_message, position,
         row_number() over (partition by error_class, error_message order by position) as rank
       from :schema:.failed_jobs where batch_id = :batchId
     ), largest as (
       select error_class, error_message, count(*)::int as jobs, count(*) over ()::int as total,
         array_agg(position order by position) filter (where rank <= :samples) as positions
       from ranked group by error_class, error_message
       order by jobs desc, min(position) limit :limit
     )
     select error_class as "errorClass", error_message as "errorMessage", jobs, total,
       (select jsonb_agg(jsonb_build_object(
          'jid', s.jid, 'workerClass', s.worker_class, 'attempts', s.attempts, 'errorStack', s.error_stack)
          ${args ? `|| jsonb_build_object('args', s.args)` : ''} order by s.position)
        from :schema:.failed_jobs s where s.batch_id = :batchId and s.position = any (positions)) as samples
     from largest order by jobs desc, positions[1]`,
    { schema, batchId, limit, samples },
  );
  return {
    groups: rows.map(({ total: _total, ...group }: FailureGroup & { total: number }) => group),
    total: rows[0]?.total ?? 0,
  };
}

export interface JobFilter {
  readonly status?: JobStatus;
  readonly workerClass?: string;
  /** Those behind this position. */
  readonly after: number;
  readonly limit: number;
  /** Whether their arguments are read. */
  readonly args: boolean;
}

/** A job, with its arguments if they were asked for. */
export type JobPageRow = Omit<JobRecord, 'args'> & Partial<Pick<JobRecord, 'args'>>;

/** Jobs of a batch in order. Served by the primary key from that position on, failed ones by batch_jobs_errors. */
export function selectJobPage(
  { knex, schema }: Database,
  batchId: string,
  { status, workerClass, after, limit, args }: JobFilter,
): Knex.QueryBuilder<object, JobPageRow[]> {
  const query = knex
    .withSchema(schema)
    .from('jobs')
    .where({ batch_id: batchId })
    .where('position', '>', after)
    .orderBy('position')
    .limit(limit);
  if (status !== undefined) query.where({ status });
  // Failed jobs have an error: the clause lets the partial index serve them.
  if (status === 'failed') query.whereNotNull('error_class');
  if (workerClass !== undefined) query.where({ worker_class: workerClass });
  const { args: argsColumn, ...columns } = JOB_COLUMNS;
  return query.select<JobPageRow[]>(args ? { ...columns, args: argsColumn } : columns);
}
