import type { Knex } from 'knex';

/**
 * Tables, and the public views over them. Tables are ours to change; the views are the stable interface.
 *
 * fillfactor 45: each row of `batch_jobs` is updated once or a few times, soon after its insert, and grows by two
 * times. Half-empty pages and no index on a column that a success changes keep those updates HOT (no index writes).
 *
 * `shared`: positions are given by the database (`src/database/enroll-numbered.ts`), because several enqueuers or handlers
 * add jobs. `queues` are the task queues of jobs that were added so, kept with `total` under one lock: who announces
 * jobs up to a total names the queues of all of them, whoever added which. `openings` counts who took the block over.
 *
 * `batch_jobs` has a trigger in place of a foreign key, which took 3.7 of the 8.9 ms of inserting 1,000 rows: it would
 * look for the batch once a row. The insert itself locks the batch and finds it open, and who deletes a batch deletes
 * its jobs.
 *
 * `batch_starts` are workflows that were about to be started as jobs: a row is written before the request leaves, and
 * becomes a job when the answer is there, or when the batch is closed and nobody can say any more what the answer was.
 *
 * A batch whose `pruned_at` is set is being removed, in many transactions: no view shows it, and nothing revives it.
 */
export async function up(knex: Knex, schema: string): Promise<void> {
  await knex.raw(
    `
create table :schema:.batches (
  id text primary key check (id <> ''),
  first_execution_run_id text not null,
  parent_batch_id text,
  description text not null,
  context jsonb not null default '{}',
  definition jsonb not null default '{}',
  auto_seal boolean not null default true,
  status text not null default 'pending' check (status in ('pending', 'running', 'complete', 'failed', 'cancelled')),
  total integer not null default 0 check (total >= 0),
  completed_count integer not null default 0 check (completed_count >= 0),
  failed_count integer not null default 0 check (failed_count >= 0),
  cancelled_count integer not null default 0 check (cancelled_count >= 0),
  round integer not null default 1 check (round >= 1),
  round_started_at timestamptz,
  complete_before_round integer not null default 0,
  settings jsonb not null default '{}',
  enrollment_error text,
  enrollment_token text,
  openings integer not null default 0 check (openings >= 0),
  shared boolean not null default false,
  queues text[] not null default '{}',
  sealed_at timestamptz,
  completed_at timestamptz,
  settled_at timestamptz,
  fail_when_failed text not null default 'any',
  deadline_at timestamptz,
  limits jsonb,
  steering integer not null default 0 check (steering >= 0),
  paused_at timestamptz,
  stopped_at timestamptz,
  stop_reason text,
  stop_grace_ms integer,
  alerts integer not null default 0 check (alerts >= 0),
  alerted_at timestamptz,
  pruned_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((stopped_at is null) = (stop_reason is null)),
  check ((stopped_at is null) = (stop_grace_ms is null)),
  check (completed_count + failed_count + cancelled_count <= total),
  check ((status = 'pending') = (sealed_at is null)),
  check ((status in ('complete', 'failed', 'cancelled')) = (completed_at is not null)),
  -- What is being removed never runs again.
  check (pruned_at is null or settled_at is not null)
) with (fillfactor = 50);

create table :schema:.batch_jobs (
  batch_id text not null,
  position integer not null check (position > 0),
  jid text not null,
  key text,
  workflow_id text,
  workflow_run_id text,
  worker_class text not null,
  args jsonb not null,
  options jsonb,
  task_queue text,
  round integer not null default 1 check (round >= 1),
  status text not null default 'pending' check (status in ('pending', 'complete', 'failed')),
  attempts integer not null default 0 check (attempts >= 0),
  due_at timestamptz,
  losses integer not null default 0 check (losses >= 0),
  marked_at timestamptz,
  error_class text,
  error_message text,
  result jsonb,
  started_at timestamptz,
  finished_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (batch_id, position),
  check ((status = 'pending') = (finished_at is null)),
  check (status <> 'failed' or error_class is not null)
) with (fillfactor = 45);

create table :schema:.batch_starts (
  batch_id text not null references :schema:.batches (id) on delete cascade,
  workflow_id text not null,
  token text not null,
  by_handler boolean not null,
  worker_class text not null,
  args jsonb not null,
  options jsonb,
  created_at timestamptz not null default now(),
  primary key (batch_id, workflow_id)
);

-- By the primary key, whatever the statistics say: where few large batches make up the table, the planner would scan
-- all of it for each batch that is deleted.
create function :schema:.delete_jobs_of_batches() returns trigger language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
begin
  delete from :schema:.batch_jobs j using deleted d where j.batch_id = d.id;
  return null;
end
$$;

create trigger delete_jobs after delete on :schema:.batches
  referencing old table as deleted for each statement execute function :schema:.delete_jobs_of_batches();

create table :schema:.batch_callbacks (
  batch_id text not null references :schema:.batches (id) on delete cascade,
  round integer not null default 1,
  event text not null check (event in ('complete', 'failure', 'cancelled', 'settled', 'idle')),
  callback text not null,
  registration jsonb not null default '{}',
  status text not null default 'registered'
    check (status in ('registered', 'scheduled', 'running', 'completed', 'failed', 'skipped')),
  attempts integer not null default 0 check (attempts >= 0),
  error_class text,
  error_message text,
  scheduled_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  primary key (batch_id, round, event)
);

-- Rounds that are over, of batches whose failed jobs ran again: what their rows said at the end of each.
create table :schema:.batch_past_rounds (
  batch_id text not null references :schema:.batches (id) on delete cascade,
  round integer not null,
  status text not null check (status in ('complete', 'failed', 'cancelled')),
  total integer not null,
  completed_count integer not null,
  failed_count integer not null,
  started_at timestamptz not null,
  completed_at timestamptz not null,
  settled_at timestamptz not null,
  stop_reason text,
  primary key (batch_id, round)
);

create table :schema:.batch_job_past_rounds (
  batch_id text not null references :schema:.batches (id) on delete cascade,
  position integer not null,
  round integer not null,
  status text not null check (status in ('failed', 'cancelled')),
  attempts integer not null,
  error_class text,
  error_message text,
  started_at timestamptz,
  finished_at timestamptz,
  primary key (batch_id, position, round)
);

-- Serves failedJobs() and the view failed_jobs. Its predicate is a column that a success leaves null: a predicate on
-- status would make every completion a non-HOT update (measured: 0.26 s against 3.5 s for 100,000 rows).
create index batch_jobs_errors on :schema:.batch_jobs (batch_id, position) where error_class is not null;

-- One job a key. Jobs that their block numbers itself have none, and their inserts do not touch this index. Those that
-- the database numbers have one each, their caller's ('key:...') or one of ours ('auto:...'), so that an insert whose
-- answer was lost finds what it wrote. That of a workflow is its id ('workflow:...').
create unique index batch_jobs_keys on :schema:.batch_jobs (batch_id, key) where key is not null;

-- Serves the cancellation of workflows that are jobs of a batch. Others have no entry, and updates leave it alone.
create index batch_jobs_workflows on :schema:.batch_jobs (batch_id, position) where workflow_id is not null;

-- Serves list({ parentId }).
create index batches_parent on :schema:.batches (parent_batch_id, created_at desc) where parent_batch_id is not null;

-- Serves list(): newest first.
create index batches_created_at on :schema:.batches (created_at desc, id);

-- Serves prune: the batches that settled first. An entry is written once, when a batch settles.
create index batches_settled_at on :schema:.batches (settled_at) where settled_at is not null and pruned_at is null;

-- Serves the view failed_jobs, and prunes that go on where another one died. Empty while none removes anything.
create index batches_pruned on :schema:.batches (id) where pruned_at is not null;

create view :schema:.batch_progress as
select
  b.id,
  b.description,
  b.status,
  b.total,
  b.completed_count as complete,
  b.failed_count as failed,
  case when b.settled_at is null then b.cancelled_count
    else b.total - b.completed_count - b.failed_count end as cancelled,
  case when b.settled_at is null then b.total - b.completed_count - b.failed_count - b.cancelled_count
    else 0 end as pending,
  case when b.total > 0
    then trunc(100.0 * (b.completed_count + b.failed_count) / b.total, 1)
  end as percent,
  round(((b.completed_count + b.failed_count - b.complete_before_round) / greatest(
    extract(epoch from coalesce(b.settled_at, now()) - coalesce(b.round_started_at, b.created_at)), 0.001
  ))::numeric, 1) as jobs_per_second,
  case when b.settled_at is null and b.stopped_at is null
      and b.completed_count + b.failed_count > b.complete_before_round
    then make_interval(secs =>
      (extract(epoch from now() - coalesce(b.round_started_at, b.created_at))
        / (b.completed_count + b.failed_count - b.complete_before_round)
        * (b.total - b.completed_count - b.failed_count - b.cancelled_count))::double precision)
  end as eta,
  case when b.settled_at is null then now() - b.updated_at end as idle,
  b.enrollment_error,
  b.fail_when_failed,
  b.deadline_at,
  b.limits,
  b.paused_at,
  b.stopped_at,
  b.stop_reason,
  b.parent_batch_id,
  b.alerts,
  b.alerted_at,
  b.round,
  coalesce(b.round_started_at, b.created_at) as round_started_at,
  (select jsonb_object_agg(c.event, jsonb_strip_nulls(jsonb_build_object(
     'callback', c.callback, 'status', c.status, 'attempts', c.attempts,
     'errorClass', c.error_class, 'errorMessage', c.error_message)))
   from :schema:.batch_callbacks c where c.batch_id = b.id and c.round = b.round) as callbacks,
  b.context,
  b.created_at,
  b.sealed_at,
  b.completed_at,
  b.settled_at,
  b.updated_at
from :schema:.batches b
where b.pruned_at is null;

-- A row a job. One that was neither complete nor failed when its batch settled is cancelled: nothing is written to the
-- rows of jobs that never started, so that cancelling takes as long for a million of them as for ten.
create view :schema:.jobs as
select
  j.batch_id,
  j.position,
  j.jid,
  case when j.key like 'key:%' then substr(j.key, 5) end as key,
  j.worker_class,
  j.args,
  j.task_queue,
  case when j.status = 'pending' and (b.settled_at is not null or j.round < b.round) then 'cancelled'
    else j.status end as status,
  j.attempts,
  j.error_class,
  j.error_message,
  j.result,
  j.started_at,
  j.finished_at,
  j.created_at,
  j.updated_at,
  j.round,
  j.workflow_id
from :schema:.batch_jobs j join :schema:.batches b on b.id = j.batch_id
where b.pruned_at is null;

-- A row a round of a batch, the present one included.
create view :schema:.batch_rounds as
select batch_id, round, status, total, completed_count as complete, failed_count as failed,
  total - completed_count - failed_count as cancelled, started_at, completed_at, settled_at, stop_reason
from :schema:.batch_past_rounds p
where exists (select 1 from :schema:.batches b where b.id = p.batch_id and b.pruned_at is null)
union all
select id, round, status, total, complete, failed, cancelled, round_started_at, completed_at, settled_at, stop_reason
from :schema:.batch_progress;

-- A row a job and round in which it was to run, the last one included.
create view :schema:.job_rounds as
select batch_id, position, batch_id || '/' || position as jid, round, status, attempts, error_class, error_message,
  started_at, finished_at
from :schema:.batch_job_past_rounds p
where exists (select 1 from :schema:.batches b where b.id = p.batch_id and b.pruned_at is null)
union all
select batch_id, position, jid, round, status, attempts, error_class, error_message, started_at, finished_at
from :schema:.jobs;

-- Ends the statement of an outcome that came after its batch had settled: the job counts as cancelled by then.
create function :schema:.refuse_late_outcome() returns integer language plpgsql as $$
begin
  raise exception 'the batch has settled' using errcode = 'BJ001';
end
$$;

create view :schema:.failed_jobs as
select
  j.batch_id,
  j.position,
  j.jid,
  j.worker_class,
  j.args,
  j.attempts,
  j.error_class,
  j.error_message,
  j.started_at,
  j.finished_at
from :schema:.batch_jobs j
where j.status = 'failed' and j.error_class is not null
  -- Looked up once a query, not once a job.
  and j.batch_id not in (select b.id from :schema:.batches b where b.pruned_at is not null);
`,
    { schema },
  );
}

export async function down(knex: Knex, schema: string): Promise<void> {
  await knex.raw(
    `
drop view :schema:.job_rounds;
drop view :schema:.batch_rounds;
drop view :schema:.failed_jobs;
drop view :schema:.jobs;
drop view :schema:.batch_progress;
drop table :schema:.batch_job_past_rounds;
drop table :schema:.batch_past_rounds;
drop table :schema:.batch_callbacks;
drop table :schema:.batch_starts;
drop table :schema:.batch_jobs;
drop table :schema:.batches;
drop function :schema:.delete_jobs_of_batches;
drop function :schema:.refuse_late_outcome;
`,
    { schema },
  );
}
