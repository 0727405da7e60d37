import type { Client } from '@temporalio/client';
import type { BatchState } from '../../workflows/batch-state.ts';
import type { BatchInput } from '../../workflows/batch.ts';
import { rangesQuery, stateQuery } from '../../workflows/messages.ts';
import type { RangeState } from '../../workflows/range-state.ts';
import { union, type Span } from '../../workflows/spans.ts';
import { batchWorkflowId } from '../client/batch-client.ts';
import { CALLS, LATE } from '../timeouts.ts';
import type { QueueFacts, TemporalFacts, WorkflowFacts } from './facts.ts';
import { encodingOf, firstPayload, hasCodecs, readPayload } from '../temporal-payloads.ts';
import { reasonOf } from './gather.ts';
import { groupBy } from './words.ts';
import { epochMs, readWorkflow } from './workflow-facts.ts';

/** Runners of a batch that are looked at. More than a few at once have jobs that all wait. */
const MAX_PARTS = 50;
/** A query is answered at once or, without a worker, not at all. */

type QueueRequest = Parameters<Client['workflowService']['describeTaskQueue']>[0];
type QueueType = NonNullable<QueueRequest['taskQueueType']>;
// The names of these values are in a package of Temporal's that apps do not install.
const WORKFLOW_QUEUE = 1 as unknown as QueueType;
const ACTIVITY_QUEUE = 2 as unknown as QueueType;
const ENHANCED = 1 as unknown as NonNullable<QueueRequest['apiMode']>;

/** Jobs whose names no worker knew, or whose rows none found, as a range tells. */
export interface UnknownSpans {
  readonly since: number;
  readonly spans: readonly Span[];
  /** It was their rows. */
  readonly isMissing: boolean;
}

/** Asks Temporal about batches, and about each task queue once. */
export class TemporalReader {
  readonly #client: Client;
  readonly #address: string;
  readonly #queues = new Map<string, Promise<QueueFacts>>();

  constructor(client: Client, address: string) {
    this.#client = client;
    this.#address = address;
  }

  /** What Temporal tells of a batch. @throws what its client throws when it does not answer */
  async read(batchId: string): Promise<{ facts: TemporalFacts; unknown: UnknownSpans[] }> {
    return this.#client.withDeadline(Date.now() + CALLS.temporal, () => this.#read(batchId));
  }

  async #read(batchId: string): Promise<{ facts: TemporalFacts; unknown: UnknownSpans[] }> {
    const { workflow: batch, children } = await readWorkflow(this.#client, batchWorkflowId(batchId));
    const isRunning = batch.status === 'running';
    // Of a batch that is over, the workflow of a callback that runs again.
    const parts = await this.#readParts(batch.workflowId, children);
    const { input, unreadable } = isRunning ? await this.#readInput(batch.workflowId) : {};
    const queues = await this.#readQueues([batch, ...parts]);
    const isAnswered = (queues[batch.taskQueue ?? '']?.workflowPollAt ?? 0) > Date.now() - LATE.poll;
    const state =
      isRunning && isAnswered ? await this.#query<BatchState>(batch.workflowId, stateQuery.name) : undefined;
    const ranges = state === undefined ? [] : await this.#readRanges([batch, ...parts]);
    const facts: TemporalFacts = {
      address: this.#address,
      namespace: this.#client.options.namespace,
      batch,
      parts,
      queues,
      unknown: [],
      ...(unreadable === undefined ? {} : { unreadable }),
      ...(input?.settings === undefined ? {} : { settings: input.settings }),
      ...(state === undefined ? {} : { state }),
    };
    return { facts, unknown: unknownSpans(ranges) };
  }

  /** What the batch's workflow was started with. */
  async #readInput(workflowId: string): Promise<{
    input?: Partial<BatchInput>;
    unreadable?: NonNullable<TemporalFacts['unreadable']>;
  }> {
    const client = this.#client;
    const payload = await firstPayload(client, workflowId);
    if (!payload) return {};
    try {
      const input = await readPayload(client, { kind: 'workflow', id: workflowId }, payload);
      return { input: input ?? {} };
    } catch (error) {
      const unreadable = {
        encoding: encodingOf(payload),
        error: reasonOf(error),
        hasCodec: hasCodecs(client),
      };
      return { unreadable };
    }
  }

  /** Children of an earlier run are not the batch's own any more: the list of workflows still has them. */
  async #readParts(workflowId: string, children: readonly string[]): Promise<WorkflowFacts[]> {
    const ids = new Set(children);
    const query = `WorkflowId STARTS_WITH "${workflowId}/" AND ExecutionStatus = "Running"`;
    // Not by `workflow.list`, which fails for memos that it cannot read.
    const { executions } = await this.#client.workflowService.listWorkflowExecutions({
      namespace: this.#client.options.namespace,
      query,
      pageSize: MAX_PARTS,
    });
    for (const { execution } of executions ?? []) if (execution?.workflowId) ids.add(execution.workflowId);
    const read = await Promise.all([...ids].slice(0, MAX_PARTS).map((id) => readWorkflow(this.#client, id)));
    return read.map(({ workflow }) => workflow);
  }

  async #readQueues(workflows: readonly WorkflowFacts[]): Promise<Record<string, QueueFacts>> {
    const names = new Set(
      workflows.flatMap(({ taskQueue, activities }) => [
        taskQueue,
        ...activities.map((activity) => activity.taskQueue),
      ]),
    );
    const entries = [...names].flatMap((name) =>
      name === undefined ? [] : [this.#readQueue(name).then((facts) => [name, facts] as const)],
    );
    return Object.fromEntries(await Promise.all(entries));
  }

  #readQueue(name: string): Promise<QueueFacts> {
    const known = this.#queues.get(name);
    if (known) return known;
    const reading = readQueue(this.#client, name);
    this.#queues.set(name, reading);
    return reading;
  }

  async #readRanges(workflows: readonly WorkflowFacts[]): Promise<RangeState[]> {
    const running = workflows.filter(({ status }) => status === 'running');
    const answers = await Promise.all(
      running.map(({ workflowId }) => this.#query<Record<string, RangeState>>(workflowId, rangesQuery.name)),
    );
    return answers.flatMap((ranges) => Object.values(ranges ?? {}));
  }

  /** @returns undefined when no worker answers, or one of another version that does not know the query */
  async #query<T>(workflowId: string, name: string): Promise<T | undefined> {
    try {
      return await this.#client.withDeadline(Date.now() + CALLS.query, () =>
        this.#client.workflow.getHandle(workflowId).query<T>(name),
      );
    } catch {
      return undefined;
    }
  }
}

/**
 * When workers asked last. The plain answer is that of one partition of the queue, the enhanced one is that of all but
 * knows no versioned workers: the later time of both counts.
 */
export async function readQueue(client: Client, name: string): Promise<QueueFacts> {
  const request = { namespace: client.options.namespace, taskQueue: { name } };
  const service = client.workflowService;
  const [workflows, activities, all] = await Promise.all([
    service.describeTaskQueue({ ...request, taskQueueType: WORKFLOW_QUEUE }),
    service.describeTaskQueue({ ...request, taskQueueType: ACTIVITY_QUEUE }),
    service
      .describeTaskQueue({
        ...request,
        apiMode: ENHANCED,
        taskQueueTypes: [WORKFLOW_QUEUE, ACTIVITY_QUEUE],
        reportPollers: true,
      })
      .catch(() => undefined),
  ]);
  const versions = Object.values(all?.versionsInfo ?? {});
  const lastPoll = (plain: typeof workflows, type: QueueType) => {
    const pollers = [
      ...(plain.pollers ?? []),
      ...versions.flatMap(({ typesInfo }) => typesInfo?.[type]?.pollers ?? []),
    ];
    const times = pollers.map(({ lastAccessTime }) => epochMs(lastAccessTime) ?? 0);
    return times.length === 0 ? undefined : Math.max(...times);
  };
  const workflowPollAt = lastPoll(workflows, WORKFLOW_QUEUE);
  const activityPollAt = lastPoll(activities, ACTIVITY_QUEUE);
  return {
    ...(workflowPollAt === undefined ? {} : { workflowPollAt }),
    ...(activityPollAt === undefined ? {} : { activityPollAt }),
  };
}

function unknownSpans(ranges: readonly RangeState[]): UnknownSpans[] {
  const delayed = ranges.flatMap((range) => range.delayed);
  const unknown = delayed.flatMap(({ spans, unknownSince: since, isMissing = false }) =>
    since === undefined ? [] : [{ since, spans, isMissing }],
  );
  const groups = groupBy(unknown, ({ since, isMissing }) => `${since}/${isMissing}`);
  return groups.map(([, entries]) => ({ ...entries[0]!, spans: union(entries.map(({ spans }) => spans)) }));
}
