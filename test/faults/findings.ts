import type { BatchEvidence, Evidence, RoundRow } from './evidence.ts';
import { PASSING } from './persist.ts';
import { tell, type Told } from './told.ts';

export type ViolationKind = 'lost' | 'doubled' | 'stuck' | 'wrong';

export interface Violation {
  readonly kind: ViolationKind;
  readonly batch: string | null;
  readonly message: string;
}

/** Epoch milliseconds of the ledger are whole. */
export const CLOCK_STEP_MS = 2;
const EXAMPLES = 5;

/** A batch with what is known of it, and what was found to be wrong with it. */
export class Findings {
  readonly evidence: Evidence;
  readonly batch: BatchEvidence;
  readonly told: Told;
  readonly violations: Violation[] = [];

  constructor(evidence: Evidence, batch: BatchEvidence) {
    this.evidence = evidence;
    this.batch = batch;
    this.told = tell(evidence, batch.id);
  }

  add(kind: ViolationKind, message: string): void {
    this.violations.push({ kind, batch: this.batch.id, message });
  }

  /** One violation for all jobs that break a rule. */
  addJobs(kind: ViolationKind, rule: string, positions: readonly (number | string)[]): void {
    if (positions.length === 0) return;
    const examples = positions.slice(0, EXAMPLES).join(', ');
    const more = positions.length > EXAMPLES ? ` and ${positions.length - EXAMPLES} more` : '';
    this.add(kind, `${rule}: ${positions.length === 1 ? 'job' : 'jobs'} ${examples}${more}`);
  }

  get first(): RoundRow | undefined {
    return this.batch.rounds[0];
  }

  get last(): RoundRow | undefined {
    return this.batch.rounds.at(-1);
  }

  /** In messages. The first one is what most batches have, and goes without saying. */
  nameOf(round: number): string {
    return round === 1 ? '' : ` in round ${round}`;
  }

  /** The block was to throw, and did. */
  get isPlannedBreak(): boolean {
    return this.batch.expected.isBroken && this.told.broken?.error === 'BlockError';
  }

  /** The block never began, because its call came to nothing: the batch ends by its timeouts. */
  get hasNeverBegun(): boolean {
    const { broken, enrolled } = this.told;
    return broken !== undefined && enrolled.length === 0 && NEVER_BEGAN.includes(broken.error!);
  }

  /** The enqueuer was silent for too long, or its batch was stopped, and heard so. */
  get isGivenUp(): boolean {
    const error = this.told.broken?.error ?? '';
    if (this.first?.stopReason !== null && this.first !== undefined && STOPPED.includes(error)) return true;
    return this.batch.expected.isEnqueuerDoomed && GIVEN_UP.includes(error);
  }
}

/** Errors of a call that came to nothing. */
const NEVER_BEGAN = [...PASSING, 'BATCH_SETTLED', 'ENROLLMENT_TIMED_OUT'];
/** Errors of a block whose batch was stopped meanwhile. */
const STOPPED = ['BATCH_CANCELLED', 'BATCH_FAILED', 'BATCH_SETTLED'];
/** Errors of a block that the batch closed itself, also when whoever resumes it comes too late. */
const GIVEN_UP = ['ENROLLMENT_TIMED_OUT', 'BATCH_SETTLED'];
