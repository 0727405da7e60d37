/** What a finding says, for programs. docs/doctor.md explains each. */
export type FindingCode =
  | 'ACTIVITY_PAUSED'
  | 'BLOCK_NEVER_OPENED'
  | 'BLOCK_OPEN'
  | 'CALLBACK_FAILED'
  | 'CALLBACK_FAILING'
  | 'CALLBACK_RUNNING'
  | 'CALLBACK_UNKNOWN'
  | 'DATABASE_MISMATCH'
  | 'DATABASE_UNREACHABLE'
  | 'JOB_ROWS_MISSING'
  | 'LONG_RUNNING'
  | 'MIRROR_BEHIND'
  | 'MOVING'
  | 'NO_ACTIVITY_WORKER'
  | 'NO_WORKFLOW_WORKER'
  | 'OVER'
  | 'PAUSED'
  | 'PAYLOADS_ENCODED'
  | 'ROW_MISSING'
  | 'RUNNER_LOST'
  | 'STOPPING'
  | 'TEMPORAL_UNREACHABLE'
  | 'UNEXPLAINED'
  | 'UNKNOWN_JOB'
  | 'WAITING_FOR_LIMIT'
  | 'WAITING_FOR_RETRY'
  | 'WAITING_FOR_SLOT'
  | 'WAITING_FOR_START_DELAY'
  | 'WAITING_FOR_WORKFLOWS'
  | 'WORKER_LOST'
  | 'WORKFLOWS_NOT_REPORTED'
  | 'WORKFLOW_TASK_FAILING'
  | 'WORKFLOW_TERMINATED';

/**
 * `attention`: somebody has to do something, or the batch does not move on by itself. `waiting`: it explains why the
 * batch stands still, and passes by itself. `ok`: nothing is wrong.
 */
export type Severity = 'attention' | 'waiting' | 'ok';

export interface Finding {
  readonly code: FindingCode;
  readonly severity: Severity;
  /** One sentence: what the batch waits for. */
  readonly message: string;
  /** What to do, or what will happen; empty where nothing needs to be said. */
  readonly advice: string;
  /** Since when, in epoch milliseconds; null where that is not known. */
  readonly since: number | null;
  /** Names and numbers of the message. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** The gravest severity among findings. */
export function verdictOf(findings: readonly Finding[]): Severity {
  const has = (severity: Severity) => findings.some((finding) => finding.severity === severity);
  return has('attention') ? 'attention' : has('waiting') ? 'waiting' : 'ok';
}
