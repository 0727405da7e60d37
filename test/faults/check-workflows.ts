import type { JobRow, WorkflowEvidence } from './evidence.ts';
import { CLOCK_STEP_MS, type Findings } from './findings.ts';
import type { WorkflowEntry } from './ledger.ts';

/** Error classes of jobs by how Temporal says that their workflow ended; it failed with one of its own. */
const ERROR_CLASSES: Readonly<Record<string, string>> = {
  CANCELLED: 'WorkflowCancelledError',
  TERMINATED: 'WorkflowTerminatedError',
};
/** How one ends that was started again by hand. */
const HEALED = { end: 'complete', errorClass: null };

/** Jobs that are workflows: they are what Temporal says of them, and each was started once. */
export function checkWorkflows(found: Findings): void {
  const { workflows, openStarts } = found.batch;
  for (const workflow of workflows) checkTruth(found, workflow);
  checkStarts(found);
  checkRows(found);
  checkPast(found);
  checkCallbacks(found);
  found.addJobs('stuck', 'starts of workflows of which nothing became', openStarts);
}

/** What became of a workflow, whatever its job says. */
function checkTruth(found: Findings, { name, workflowId, chain }: WorkflowEvidence): void {
  const startedAgain = startedAgainOf(found, name);
  const acted = entriesOf(found, 'workflow-acted', name).map(({ runId }) => runId!);
  if (chain === null) {
    const wasThere = acted.length > 0 || entriesOf(found, 'workflow-started', name).length > 0;
    if (wasThere) found.add('lost', `${workflowId} was started, and is gone`);
    return;
  }
  const { status, failure, runIds } = chain;
  const known = entriesOf(found, 'workflow-started-again', name).flatMap(({ earlier }) => earlier!);
  if (acted.some((runId) => ![...runIds, ...known].includes(runId)))
    found.add('doubled', `${workflowId} was started more than once`);
  if (status === 'COMPLETED' && runIds.some((runId) => !acted.includes(runId)))
    found.add('lost', `${workflowId} is complete, and a run of it never acted`);
  const planned = startedAgain ? HEALED : found.batch.expected.jobs[name]?.first;
  const isEndedBy = (how: string) =>
    found.evidence.endedWorkflows.some((ended) => ended.workflowId === workflowId && ended.how === how);
  const isStopped = found.batch.rounds.some(({ stopReason }) => stopReason !== null);
  const isAllowed =
    {
      COMPLETED: planned?.end === 'complete',
      FAILED: planned?.end === 'failed' && planned.errorClass === failure,
      CANCELLED: isStopped || isEndedBy('cancel'),
      TERMINATED: isEndedBy('terminate'),
    }[status] ?? false;
  if (!isAllowed)
    found.add('wrong', `${workflowId} ended as ${status}: ${JSON.stringify({ failure, planned })}`);
}

/** What its enqueuer heard of the starts. */
function checkStarts(found: Findings): void {
  const { jobs, rounds } = found.batch;
  const members = new Set(jobs.map(({ name }) => name));
  const isStopped = rounds.some(({ stopReason }) => stopReason !== null);
  found.addJobs(
    'lost',
    'workflows that were started, and are no jobs',
    named(found.told.workflows, ({ what, name }) => what === 'workflow-started' && !members.has(name)),
  );
  found.addJobs(
    'lost',
    'workflows that ran, and are no jobs',
    // What a batch takes no more is asked to cancel.
    named(
      found.told.workflows,
      ({ what, name }) => what === 'workflow-acted' && !members.has(name) && !isStopped,
    ),
  );
  const started = found.told.workflows.filter(({ what }) => what === 'workflow-started');
  found.addJobs(
    'doubled',
    'workflows that were started by two calls',
    started
      .filter(({ name }, index) => started.findIndex((other) => other.name === name) < index)
      .map(({ name }) => name),
  );
  for (const { what, name, error, message } of found.told.workflows) {
    if (what === 'workflow-not-started' && !mayRefuse(found, name, error!))
      found.add('wrong', `the start of ${name} was refused with ${error}: ${message}`);
  }
}

function mayRefuse(found: Findings, name: string, error: string): boolean {
  // Another call has started it, or is about to.
  if (error === 'WORKFLOW_ENROLLED') return entriesOf(found, 'workflow-starting', name).length > 1;
  // Nobody knows whether it was started; or the code of an error that has ended the block, which is judged elsewhere.
  return error === 'ServiceError' || /^[A-Z_]+$/.test(error);
}

/** Rows say what Temporal says. */
function checkRows(found: Findings): void {
  const rows = found.batch.jobs.filter(({ workflow }) => workflow !== null);
  const truths = truthsOf(found);
  const where = (isBroken: (job: JobRow, truth: WorkflowEvidence | undefined) => boolean) =>
    rows.filter((job) => isBroken(job, truths.get(job.name))).map(({ name }) => name);
  const hasEnded = ({ status }: JobRow) => status !== 'pending';
  found.addJobs(
    'wrong',
    'jobs that are another workflow',
    where((job, truth) => {
      const { id, runId } = job.workflow!;
      const isOther = runId !== null && truth?.chain?.runIds.includes(runId) === false;
      return id !== truth?.workflowId || (isOther && !startedAgainOf(found, job.name));
    }),
  );
  found.addJobs(
    'wrong',
    'jobs that ended other than their workflow',
    where((job, truth) => hasEnded(job) && isOfChain(found, job.name, job.round) && isOtherThan(truth, job)),
  );
  found.addJobs(
    'wrong',
    'jobs whose start nobody knows of, and that are held to be not started',
    where(
      ({ name, errorClass }) =>
        errorClass === 'WorkflowNotStartedError' && entriesOf(found, 'workflow-started', name).length > 0,
    ),
  );
  found.addJobs(
    'doubled',
    'ends of workflows counted more than once',
    where(({ attempts }) => attempts > 1),
  );
  found.addJobs(
    'wrong',
    'ends of workflows not counted',
    where((job) => hasEnded(job) && job.attempts < 1),
  );
}

function checkPast(found: Findings): void {
  const { jobs, pastJobs } = found.batch;
  const truths = truthsOf(found);
  const names = new Map(jobs.flatMap(({ position, name, workflow }) => (workflow ? [[position, name]] : [])));
  found.addJobs(
    'wrong',
    'jobs that ended an earlier round other than their workflow',
    pastJobs
      .filter(({ position, status }) => names.has(position) && status === 'failed')
      .filter(({ position, round }) => isOfChain(found, names.get(position)!, round))
      .filter((past) => isOtherThan(truths.get(names.get(past.position)!), past))
      .map(({ position }) => names.get(position)!),
  );
}

function isOtherThan(
  truth: WorkflowEvidence | undefined,
  { status, errorClass }: { readonly status: string; readonly errorClass: string | null },
): boolean {
  const chain = truth?.chain;
  if (!chain) return status !== 'failed' || errorClass !== 'WorkflowNotStartedError';
  if (chain.status === 'COMPLETED') return status !== 'complete';
  return status !== 'failed' || errorClass !== (ERROR_CLASSES[chain.status] ?? chain.failure);
}

/** Callbacks of the end of a round start after the ends of all workflows that its rows have as ended. */
function checkCallbacks(found: Findings): void {
  const { jobs, runs } = found.batch;
  const truths = truthsOf(found);
  const roundOf = new Map(runs.map(({ runId, round }) => [runId, round]));
  const starts = found.told.callbacks.filter(
    ({ what, event }) => what === 'callback-start' && (event === 'complete' || event === 'settled'),
  );
  found.addJobs(
    'wrong',
    'workflows that ended after a callback had started',
    jobs
      .filter(({ name, workflow, status, round }) => {
        const endedAt = truths.get(name)?.chain?.endedAt;
        if (workflow === null || status === 'pending' || endedAt === undefined) return false;
        if (!isOfChain(found, name, round)) return false;
        return starts.some(
          ({ runId, at }) => (roundOf.get(runId) ?? 0) >= round && at + CLOCK_STEP_MS < endedAt,
        );
      })
      .map(({ name }) => name),
  );
}

/** Whether what a row says of a round is said of the newest chain: it may have been started since. */
function isOfChain(found: Findings, name: string, round: number): boolean {
  return round >= (startedAgainOf(found, name)?.round ?? 0);
}

/** That it was started by hand, the last time. */
function startedAgainOf(found: Findings, name: string): WorkflowEntry | undefined {
  return entriesOf(found, 'workflow-started-again', name).at(-1);
}

function truthsOf({ batch }: Findings): ReadonlyMap<string, WorkflowEvidence> {
  return new Map(batch.workflows.map((workflow) => [workflow.name, workflow]));
}

function entriesOf({ told }: Findings, what: WorkflowEntry['what'], name: string): WorkflowEntry[] {
  return told.workflows.filter((entry) => entry.what === what && entry.name === name);
}

function named(entries: readonly WorkflowEntry[], isOne: (entry: WorkflowEntry) => boolean): string[] {
  return [...new Set(entries.filter(isOne).map(({ name }) => name))];
}
