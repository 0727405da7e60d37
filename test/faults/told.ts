import type { Evidence } from './evidence.ts';
import type {
  CallbackEntry,
  CallbackEvent,
  CreatorEntry,
  EnqueuerEntry,
  JobEntry,
  RetryEntry,
  WorkflowEntry,
} from './ledger.ts';

/** What the ledger says of one batch. */
export interface Told {
  readonly starts: readonly JobEntry[];
  readonly ends: readonly JobEntry[];
  /** Starts of handlers and their ends, whatever those were, in the order of the ledger. */
  readonly runs: readonly JobEntry[];
  readonly callbacks: readonly CallbackEntry[];
  /** Somebody has got the batch from create(). */
  readonly created: boolean;
  /** The others who created it, and what they got. */
  readonly creators: readonly CreatorEntry[];
  readonly registered: ReadonlySet<CallbackEvent>;
  readonly enrolled: readonly EnqueuerEntry[];
  readonly closed: EnqueuerEntry | undefined;
  readonly broken: EnqueuerEntry | undefined;
  readonly retries: readonly RetryEntry[];
  readonly workflows: readonly WorkflowEntry[];
}

export function tell({ ledger }: Evidence, batchId: string): Told {
  const starts: JobEntry[] = [];
  const ends: JobEntry[] = [];
  const runs: JobEntry[] = [];
  const callbacks: CallbackEntry[] = [];
  const creators: CreatorEntry[] = [];
  const registered = new Set<CallbackEvent>();
  const enrolled: EnqueuerEntry[] = [];
  const retries: RetryEntry[] = [];
  const workflows: WorkflowEntry[] = [];
  let created = false;
  let closed: EnqueuerEntry | undefined;
  let broken: EnqueuerEntry | undefined;
  for (const entry of ledger) {
    if (entry.batch !== batchId) continue;
    switch (entry.what) {
      case 'job-start':
        starts.push(entry);
        runs.push(entry);
        break;
      case 'job-end':
        ends.push(entry);
        runs.push(entry);
        break;
      case 'job-stop':
        runs.push(entry);
        break;
      case 'callback-start':
      case 'callback-end':
        callbacks.push(entry);
        break;
      case 'created':
        created = true;
        break;
      case 'created-again':
        created = true;
        creators.push(entry);
        break;
      case 'not-created-again':
        creators.push(entry);
        break;
      case 'registered':
        registered.add(entry.event!);
        break;
      case 'enrolled':
        enrolled.push(entry);
        break;
      case 'closed':
        closed = entry;
        break;
      case 'broken':
        broken = entry;
        break;
      case 'retrying':
      case 'retried':
      case 'not-retried':
        retries.push(entry);
        break;
      case 'workflow-starting':
      case 'workflow-started':
      case 'workflow-not-started':
      case 'workflow-acted':
      case 'workflow-started-again':
        workflows.push(entry);
        break;
    }
  }
  return {
    starts,
    ends,
    runs,
    callbacks,
    created,
    creators,
    registered,
    enrolled,
    closed,
    broken,
    retries,
    workflows,
  };
}
