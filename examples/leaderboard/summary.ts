import type { Check } from './checks.ts';
import type { BatchFacts, FailureGroup } from './facts.ts';

/** A batch that the demo ran. */
export interface BatchResult {
  readonly id: string;
  readonly seconds: number;
  readonly facts: BatchFacts;
  readonly checks: readonly Check[];
  readonly failures: readonly FailureGroup[];
}

/** What `--json` prints. */
export interface Summary {
  readonly ok: boolean;
  readonly workersKilled: number;
  readonly batches: readonly BatchResult[];
  readonly webUiUrl: string | null;
}
