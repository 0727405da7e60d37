import type { Client } from '@temporalio/client';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import type { Execution } from '../src/database/executions.ts';
import type { HistoryEvent } from '../src/temporal-history.ts';
import { readPayload } from '../src/temporal-payloads.ts';
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

/** The mark of a run. A codec of the app may have encoded it that this worker does not have. */
export async function markOf(
  client: Client,
  execution: Execution,
  payload: Payload | undefined,
): Promise<SeenRun['mark']> {
  if (!payload) return undefined;
  try {
    const mark = (await readMark(client, execution, payload)) as Readonly<Record<string, unknown>> | null;
    const { batchId, [`${execution.kind}Id`]: id } = mark ?? {};
    return typeof batchId === 'string' && typeof id === 'string' ? { batchId, id } : undefined;
  } catch {
    return 'unreadable';
  }
}

/** Headers are in clear text also beside a codec, which may refuse what it has not encoded. */
async function readMark(client: Client, execution: Execution, payload: Payload): Promise<unknown> {
  try {
    return defaultPayloadConverter.fromPayload(payload);
  } catch {
    return readPayload(client, execution, payload);
  }
}

export function epochMs(time: HistoryEvent['eventTime']): number {
  return Number(time?.seconds ?? 0) * 1_000 + (time?.nanos ?? 0) / 1e6;
}
