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
 * `batch_starts` are workflows and activities that were about to be started as jobs: a row is written before the request
 * leaves, and becomes a job when the answer is there, or when the batch is closed and nobody can say any more what the
 * answer was. `key` is that of the job.
 *
 * `batch_schema` has one row, the schema's random ID: by it a worker tells a batch of another database from one whose rows
 * are gone. A copy of the database has the same ID.
 *
 * A job whose row somebody deleted gets another one that says so (src/database/missing-rows.ts). `missing_count` counts
 * them, and `failure_reason` says it of the batch.
 *
 * `named_limits` are shared by all batches. `limit_permits` has the permits that each worker leases: `permits` is the most
 * jobs that it may run at once, until `expires_at`. Only `lease_permits` grants and withdraws permits.
 *
 * A batch whose `pruned_at` is set is being removed, in many transactions: no view shows it, and nothing revives it.
 */
export async function up(knex: Knex, schema: string): Promise<void> {
  await knex.raw(
    `
create table :schema:.batch_schema (
  id text primary key default substr(md5(gen_random_uuid()::text), 1, 12) check (id <> ''),
  is_only boolean not null default true unique check (is_only),
  created_at timestamptz not null default now()
);

insert into :schema:.batch_schema default values;

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
  missing_count integer not null default 0 check (missing_count >= 0),
  failure_reason text,
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
  stop_outcome text check (stop_outcome in ('failed', 'cancelled')),
  stop_grace_ms integer,
  alerts integer not null default 0 check (alerts >= 0),
  alerted_at timestamptz,
  pruned_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check ((stopped_at is null) = (stop_reason is null)),
  check ((stopped_at is null) = (stop_outcome is null)),
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
  activity_id text,
  run_id text,
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
  error_stack text,
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
  key text not null,
  workflow_id text,
  activity_id text,
  token text not null,
  by_handler boolean not null,
  worker_class text not null,
  args jsonb not null,
  options jsonb,
  created_at timestamptz not null default now(),
  primary key (batch_id, key),
  check (num_nonnulls(workflow_id, activity_id) = 1)
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
  -- The alert for which the callback of idle runs, or ran last.
  alert integer not null default 0 check (alert >= 0),
  -- Counts retryCallback.
  retries integer not null default 0 check (retries >= 0),
  -- How many times the handler has run, and how many of them count against its maximumAttempts.
  attempts integer not null default 0 check (attempts >= 0),
  charged integer not null default 0 check (charged between 0 and attempts),
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

create table :schema:.named_limits (
  name text primary key check (name <> ''),
  max_concurrent integer check (max_concurrent >= 0),
  per_second double precision check (per_second >= 0),
  key_max_concurrent integer check (key_max_concurrent >= 0),
  -- The earliest time that can still be reserved for a start.
  next_start_at timestamptz not null default '-infinity',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
) with (fillfactor = 50);

-- One row per limit, key and worker. The key is empty for jobs without one.
create table :schema:.limit_permits (
  name text not null references :schema:.named_limits (name) on delete cascade,
  key text not null,
  worker text not null,
  running integer not null check (running >= 0),
  waiting integer not null check (waiting >= 0),
  permits integer not null default 0 check (permits >= 0),
  -- Start of its turn, for when there are fewer permits than keys or workers that request some.
  turn_at timestamptz not null default '-infinity',
  -- Last time that it reserved starts.
  started_at timestamptz not null default '-infinity',
  expires_at timestamptz not null,
  primary key (name, key, worker)
) with (fillfactor = 50);

-- Divides a capacity by max-min fairness: no entry gets more than it wants, and capacity that one entry does not want goes
-- to the others. The remainder of an even division goes to the entries with the lowest turn.
create function :schema:.fair_shares(capacity bigint, ids text[], wants bigint[], turns double precision[])
  returns table (id text, share bigint) language sql immutable as $$
  with wish as (select * from unnest(ids, wants, turns) as w (id, wanted, turn)),
  ranked as (
    select id, wanted, turn,
      -- The sum of all smaller wishes, and the number of wishes from this one on.
      coalesce(sum(wanted) over (order by wanted, id rows between unbounded preceding and 1 preceding), 0) as below,
      count(*) over (order by wanted, id rows between current row and unbounded following) as others
    from wish
  ),
  even as (
    select max(floor((capacity - below) / others)) filter (where below + wanted * others > capacity) as part
    from ranked
  ),
  parts as (
    select id, wanted, least(wanted, coalesce(part, wanted)) as share,
      row_number() over (partition by wanted > coalesce(part, wanted) order by turn, id) as nth,
      capacity - sum(least(wanted, coalesce(part, wanted))) over () as rest
    from ranked cross join even
  )
  select id, (share + case when wanted > share and nth <= rest then 1 else 0 end)::bigint from parts
$$;

-- Renews the leases of a worker. Each second, a worker with jobs under limits reports how many of them run and wait, and
-- receives its permits and its reserved starts. Permits that it does not renew become free when their lease expires. The
-- locked row of the limit serializes workers.
--
-- Reserved starts of all workers follow each other at 1.015 of the rate's interval. A worker may use a start up to 15 ms
-- late, and still no second has more starts than the rate.
create function :schema:.lease_permits(
  asker text, asks jsonb, lease_ms double precision, horizon_ms double precision, turn_ms double precision
) returns table (limit_name text, limit_key text, given integer, starts double precision[], clock double precision)
  language plpgsql as $$
declare
  l record;
  e record;
  moment timestamptz;
  free bigint;
  granted bigint;
  next_at timestamptz;
  step interval;
  times double precision[];
begin
  -- In the order of names, to avoid deadlocks.
  for l in
    select n.* from :schema:.named_limits n
    where n.name in (select a ->> 'name' from jsonb_array_elements(asks) a)
    order by n.name for update
  loop
    moment := clock_timestamp();
    delete from :schema:.limit_permits p where p.name = l.name and p.expires_at <= moment;
    -- The worker uses its old permits until it has the answer. They stay reserved for it, unless its lease had expired.
    insert into :schema:.limit_permits as p (name, key, worker, running, waiting, permits, expires_at)
    select l.name, a.key, asker, a.running, a.waiting, a.running, moment + lease_ms * interval '1 ms'
    from jsonb_to_recordset(asks) as a (name text, key text, running integer, waiting integer)
    where a.name = l.name
    on conflict (name, key, worker) do update
      set running = excluded.running, waiting = excluded.waiting,
        permits = greatest(excluded.running, least(p.permits, (
          select a.permits from jsonb_to_recordset(asks) as a (name text, key text, permits integer)
          where a.name = p.name and a.key = p.key))), expires_at = excluded.expires_at;
    -- Keeps idle rows for a while: a key that was away does not jump the queue.
    update :schema:.limit_permits p set permits = 0, expires_at = moment + 10 * turn_ms * interval '1 ms'
    where p.name = l.name and p.worker = asker and p.running = 0 and p.waiting = 0;
    free := l.max_concurrent - (select coalesce(sum(p.permits), 0) from :schema:.limit_permits p where p.name = l.name);
    next_at := greatest(l.next_start_at, moment);
    step := case when l.per_second > 0 then 1.015 / l.per_second * interval '1 s' end;
    for e in
      with entry as (
        select p.*, p.running + p.waiting as wanted,
          -- A key keeps its turn for a while. Then the key whose last turn is longest ago comes next.
          p.permits > 0 and p.turn_at > moment - turn_ms * interval '1 ms' as has_turn,
          extract(epoch from p.turn_at)::double precision as turn
        from :schema:.limit_permits p where p.name = l.name
      ),
      by_key as (
        select key, case when bool_or(has_turn) then '-infinity' else max(turn) end as turn,
          max(extract(epoch from started_at))::double precision as started,
          case when key = '' then sum(wanted) else least(sum(wanted), coalesce(l.key_max_concurrent, sum(wanted))) end
            as wanted,
          case when key = '' then null else l.key_max_concurrent end - sum(permits) as free,
          sum(waiting) as waiting,
          array_agg(worker) as workers, array_agg(entry.wanted::bigint) as wants, array_agg(case when has_turn then '-infinity' else turn end) as turns,
          array_agg(waiting::bigint) as waits, array_agg(extract(epoch from started_at)::double precision) as starts
        from entry group by key
      ),
      of_keys as (
        select f.id as key, f.share from (
          select array_agg(key) as ids, array_agg(wanted::bigint) as wants, array_agg(turn) as turns from by_key
        ) k cross join lateral :schema:.fair_shares(
          coalesce(l.max_concurrent, (select sum(wanted) from by_key))::bigint, k.ids, k.wants, k.turns) f
      ),
      starts_of_keys as (
        select f.id as key, f.share from (
          select array_agg(key) as ids, array_agg(waiting::bigint) as wants, array_agg(started) as turns from by_key
        ) k cross join lateral :schema:.fair_shares(
          greatest(1, floor(coalesce(l.per_second, 0) * horizon_ms / 1000))::bigint, k.ids, k.wants, k.turns) f
      )
      select own.key, own.running, own.permits, own.turn, k.free as key_free, mine.share, least(s.share, a.starts) as starts
      from entry own
      join jsonb_to_recordset(asks) as a (name text, key text, starts integer) on a.name = l.name and a.key = own.key
      join by_key k on k.key = own.key
      join of_keys o on o.key = own.key
      join starts_of_keys so on so.key = own.key
      cross join lateral :schema:.fair_shares(o.share, k.workers, k.wants, k.turns) mine
      cross join lateral :schema:.fair_shares(so.share, k.workers, k.waits, k.starts) s
      where own.worker = asker and mine.id = asker and s.id = asker
      order by own.turn, own.key
    loop
      -- At most the fair share, and no permit that another worker still holds. Running jobs finish even above the share.
      granted := least(
        e.share,
        e.permits + greatest(0, coalesce(free, e.share)),
        e.permits + greatest(0, coalesce(e.key_free, e.share)));
      free := free - greatest(0, granted - e.permits);
      times := null;
      if l.per_second is not null then
        times := '{}';
        while step is not null and cardinality(times) < least(e.starts, granted)
          and next_at < moment + horizon_ms * interval '1 ms'
        loop
          times := times || extract(epoch from next_at)::double precision * 1000;
          next_at := next_at + step;
        end loop;
      end if;
      update :schema:.limit_permits p set
        -- Withdrawn permits become free with the worker's next request, which confirms the withdrawal.
        permits = greatest(granted, e.permits),
        turn_at = case when granted > 0 and e.permits = 0 then moment else p.turn_at end,
        started_at = case when cardinality(times) > 0 then moment else p.started_at end
      where p.name = l.name and p.key = e.key and p.worker = asker;
      return query select l.name, e.key, case when l.max_concurrent is null and (e.key = '' or l.key_max_concurrent is null)
        then null else granted end::integer, times, extract(epoch from moment)::double precision * 1000;
    end loop;
    if next_at > l.next_start_at and l.per_second is not null then
      update :schema:.named_limits n set next_start_at = next_at where n.name = l.name;
    end if;
  end loop;
end
$$;

-- Serves failedJobs() and the view failed_jobs. Its predicate is a column that a success leaves null: a predicate on
-- status would make every completion a non-HOT update (measured: 0.26 s against 3.5 s for 100,000 rows).
create index batch_jobs_errors on :schema:.batch_jobs (batch_id, position) where error_class is not null;

-- One job a key. Jobs that their block numbers itself have none, and their inserts do not touch this index. Those that
-- the database numbers have one each, their caller's ('key:...') or one of ours ('auto:...'), so that an insert whose
-- answer was lost finds what it wrote. That of a workflow, an activity or a batch is its id ('workflow:...',
-- 'activity:...', 'batch:...').
create unique index batch_jobs_keys on :schema:.batch_jobs (batch_id, key) where key is not null;

-- Serves the cancellation of workflows and activities that are jobs of a batch. Others have no entry, and updates leave
-- it alone.
create index batch_jobs_executions on :schema:.batch_jobs (batch_id, position)
  where workflow_id is not null or activity_id is not null;

-- Serves the search for batches that wait for each other. Jobs that are no batches have no entry.
create index batch_jobs_members on :schema:.batch_jobs (batch_id) where worker_class = 'batch-jobs:Batch';

-- Serves the doctor: callbacks that failed for good. Its predicate is a column that a success leaves null, so that the
-- updates of a callback that succeeds stay HOT.
create index batch_callbacks_errors on :schema:.batch_callbacks (batch_id) where error_class is not null;

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
  b.failure_reason,
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
  j.workflow_id,
  j.activity_id,
  j.error_stack
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
  j.finished_at,
  j.error_stack
from :schema:.batch_jobs j
where j.status = 'failed' and j.error_class is not null
  -- Looked up once a query, not once a job.
  and j.batch_id not in (select b.id from :schema:.batches b where b.pruned_at is not null);

-- A row for each kind of failure of a batch. Messages that differ by a number, a UUID or a hash are of one kind: what
-- is alike is worth one look. By a lateral subquery, so that whatever selects the batches, the jobs of each are found
-- by batch_jobs_errors, and the messages of others are not even read.
create view :schema:.failed_jobs_by_error as
select
  b.id as batch_id,
  f.worker_class,
  f.error_class,
  f.error_pattern,
  f.jobs,
  f.first_position,
  (select e.error_message from :schema:.batch_jobs e where e.batch_id = b.id and e.position = f.first_position)
    as error_message,
  f.first_failed_at,
  f.last_failed_at
from :schema:.batches b
cross join lateral (
  select
    j.worker_class,
    j.error_class,
    -- The beginning is enough to tell kinds apart: a message has up to 10,000 characters.
    regexp_replace(left(j.error_message, 300), '\\m[0-9A-Fa-f-]*[0-9][0-9A-Fa-f-]*\\M|[0-9]+', '#', 'g')
      as error_pattern,
    count(*)::integer as jobs,
    min(j.position) as first_position,
    min(j.finished_at) as first_failed_at,
    max(j.finished_at) as last_failed_at
  from :schema:.batch_jobs j
  where j.batch_id = b.id and j.status = 'failed' and j.error_class is not null
  group by 1, 2, 3
) f
where b.pruned_at is null;

-- A row for each minute in which jobs of a batch ended. Counted from the rows of its jobs, by the primary key: an index
-- on their times would make every outcome a non-HOT update, and a table of counts one more write with each.
create view :schema:.jobs_per_minute as
select b.id as batch_id, m.minute, m.complete, m.failed, m.mean_duration
from :schema:.batches b
cross join lateral (
  select
    date_bin('1 minute', e.finished_at, timestamptz 'epoch') as minute,
    count(*) filter (where e.status = 'complete')::integer as complete,
    count(*) filter (where e.status = 'failed')::integer as failed,
    avg(e.finished_at - e.started_at) as mean_duration
  from (
    select j.status, j.started_at, j.finished_at from :schema:.batch_jobs j
    where j.batch_id = b.id and j.finished_at is not null
    union all
    select p.status, p.started_at, p.finished_at from :schema:.batch_job_past_rounds p
    where p.batch_id = b.id and p.status = 'failed'
  ) e
  group by 1
) m
where b.pruned_at is null;

-- One row per named limit, with its leased permits, its running jobs, and the jobs that wait in workers.
create view :schema:.limits as
select n.name, n.max_concurrent, n.per_second, n.key_max_concurrent,
  coalesce(sum(p.permits), 0)::integer as permits_out,
  coalesce(sum(p.running), 0)::integer as running,
  coalesce(sum(p.waiting), 0)::integer as waiting,
  n.created_at, n.updated_at
from :schema:.named_limits n
left join :schema:.limit_permits p on p.name = n.name and p.expires_at > now()
group by n.name;

-- The same per key, for keys that workers have, or recently had, jobs of. The key is empty for jobs without one.
create view :schema:.limit_keys as
select p.name, p.key, sum(p.permits)::integer as permits_out, sum(p.running)::integer as running,
  sum(p.waiting)::integer as waiting
from :schema:.limit_permits p
where p.expires_at > now()
group by p.name, p.key;

-- Batches that are not over, or whose callback has failed for good, and of which nothing was recorded for a minute, with
-- what their rows say about why. The words are those of the doctor's findings. Whether there is a worker only Temporal knows.
create view :schema:.idle_batches as
select
  b.id,
  b.description,
  b.status,
  b.total,
  case when b.settled_at is null then b.total - b.completed_count - b.failed_count - b.cancelled_count
    else 0 end as pending,
  i.idle_since,
  now() - i.idle_since as idle,
  case
    when b.settled_at is not null then case
      when c.status = 'failed' then 'callback_failed'
      when c.status <> 'running' then 'callback_waiting'
      when c.error_class is not null then 'callback_failing'
      else 'callback_running' end
    -- A workflow that runs stops its batch at the deadline, paused or not.
    when b.stopped_at is null and b.deadline_at < now() - interval '1 minute' then 'overdue'
    when b.stopped_at is not null then 'stopping'
    when b.paused_at is not null then 'paused'
    when b.sealed_at is null then 'block_open'
    when b.completed_count + b.failed_count + b.cancelled_count = b.total then 'ending'
    when retry.error_class is not null then 'waiting_for_retry'
    when delayed.due_at is not null then 'waiting_for_start_delay'
    else 'jobs_open'
  end as reason,
  nullif(case
    when b.settled_at is not null
      then concat_ws(': ', c.event || ' ' || c.callback, c.error_class, left(c.error_message, 500))
    when b.stopped_at is not null then b.stop_reason
    else concat_ws(': ', retry.error_class, left(retry.error_message, 500))
  end, '') as detail,
  b.created_at
from :schema:.batches b
left join lateral (
  select max(greatest(m.scheduled_at, m.started_at, m.finished_at)) as at
  from :schema:.batch_callbacks m where m.batch_id = b.id and m.round = b.round
) moved on true
cross join lateral (select greatest(b.updated_at, moved.at) as idle_since) i
-- Of a batch whose jobs have ended: the callback that it waits for. A later one is scheduled when this one has ended.
-- One that has failed for good waits for an operator.
left join lateral (
  select o.event, o.callback, o.status, o.error_class, o.error_message
  from :schema:.batch_callbacks o
  where o.batch_id = b.id and o.round = b.round and b.settled_at is not null
    and o.status in ('registered', 'scheduled', 'running', 'failed')
  order by o.status = 'running' desc, o.status = 'scheduled' desc, o.status = 'registered' desc, o.event limit 1
) c on true
-- Among the first thousand jobs with an error, so that a batch of many failures costs little. By batch_jobs_errors.
left join lateral (
  select e.error_class, e.error_message
  from (
    select j.status, j.due_at, j.error_class, j.error_message from :schema:.batch_jobs j
    where j.batch_id = b.id and j.error_class is not null and b.settled_at is null
    order by j.position limit 1000
  ) e
  where e.status = 'pending' and e.due_at > now() limit 1
) retry on true
-- The first job stands for all. By the primary key.
left join lateral (
  select f.due_at
  from (
    select j.due_at, j.attempts from :schema:.batch_jobs j
    where j.batch_id = b.id and b.completed_count + b.failed_count = 0
    order by j.position limit 1
  ) f
  where f.due_at > now() and f.attempts = 0
) delayed on true
where b.pruned_at is null
  and b.updated_at < now() - interval '1 minute'
  and i.idle_since < now() - interval '1 minute'
  and (b.settled_at is null or exists (
    select 1 from :schema:.batch_callbacks o
    where o.batch_id = b.id and o.round = b.round and o.status in ('registered', 'scheduled', 'running', 'failed')));
`,
    { schema },
  );
}

export async function down(knex: Knex, schema: string): Promise<void> {
  await knex.raw(
    `
drop view :schema:.idle_batches;
drop view :schema:.limit_keys;
drop view :schema:.limits;
drop view :schema:.jobs_per_minute;
drop view :schema:.failed_jobs_by_error;
drop view :schema:.job_rounds;
drop view :schema:.batch_rounds;
drop view :schema:.failed_jobs;
drop view :schema:.jobs;
drop view :schema:.batch_progress;
drop table :schema:.limit_permits;
drop table :schema:.named_limits;
drop table :schema:.batch_job_past_rounds;
drop table :schema:.batch_past_rounds;
drop table :schema:.batch_callbacks;
drop table :schema:.batch_starts;
drop table :schema:.batch_jobs;
drop table :schema:.batches;
drop table :schema:.batch_schema;
drop function :schema:.delete_jobs_of_batches;
drop function :schema:.refuse_late_outcome;
drop function :schema:.lease_permits;
drop function :schema:.fair_shares;
`,
    { schema },
  );
}
