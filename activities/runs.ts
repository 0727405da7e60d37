import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import type { ExecutionKind } from '../src/database/executions.ts';
import type { HistoryEvent } from '../src/temporal-history.ts';
import type { RunEnd, SeenRun } from './workflow-look.ts';

/** How Temporal is asked about the runs of one kind of execution. */
export interface Runs {
  /** @returns undefined: there is no run of this id */
  newest(client: Client, id: string): Promise<SeenRun | undefined>;
  /** @returns undefined: there is no such run */
  closed(client: Client, id: string, runId: string): Promise<ClosedRun | undefined>;
  /** @returns false: it is not there any more */
  requestCancel(client: Client, id: string, run: SeenRun, reason: string): Promise<boolean>;
}

export interface ClosedRun {
  /** Undefined: it has not closed. */
  readonly end: RunEnd | undefined;
  /** Epoch milliseconds; meaningless where it has not closed. */
  readonly at: number;
}

type Payload = Parameters<typeof defaultPayloadConverter.fromPayload>[0];

/** The mark as the default converter reads it: that of the app may encrypt, and is not known here. */
export function markOf(kind: ExecutionKind, payload: Payload | undefined): SeenRun['mark'] {
  if (!payload) return undefined;
  try {
    const mark = defaultPayloadConverter.fromPayload<Readonly<Record<string, unknown>> | null>(payload);
    const { batchId, [`${kind}Id`]: id } = mark ?? {};
    return typeof batchId === 'string' && typeof id === 'string' ? { batchId, id } : undefined;
  } catch {
    return 'unreadable';
  }
}

export function epochMs(time: HistoryEvent['eventTime']): number {
  return Number(time?.seconds ?? 0) * 1_000 + (time?.nanos ?? 0) / 1e6;
}
