import { setTimeout as delay } from 'node:timers/promises';
import { Client, isGrpcDeadlineError } from '@temporalio/client';
import type { InjectedSinkFunction } from '@temporalio/worker';
import type { WorkflowInfo } from '@temporalio/workflow';
import { workflowsEndedSignal } from '../../workflows/messages.ts';
import type { EndedRun, ReportSinks } from '../../workflows/report-end.ts';
import { batchWorkflowId } from '../client/batch-client.ts';
import { CLOSE_EVENT, nextRunIdOf } from '../temporal-history.ts';
import { firstPayload, hasCodecs, isPlain } from '../temporal-payloads.ts';
import { CALLS } from '../timeouts.ts';
import { Hints } from './hints.ts';

/** Questions to the server that are open at once. */
const MAX_ASKED = 100;
/** Runs that wait for their turn. What is more is left to be found without a hint. */
const MAX_HELD = 10_000;
/** Between two questions, whatever the server does. */
const PAUSE_MS = 100;

/** The client of a worker. Asked each time: a worker's connection can be replaced. */
export type ClientOf = () => Client | undefined;

/**
 * The sink of a worker whose workflows are jobs of batches. It waits until a run is closed, and tells its batch: then
 * the batch looks at the workflow at once. A hint and no more: it may be lost, and the batch finds the end by itself.
 * So nothing here fails a workflow, or holds its task up.
 */
export class EndReporter implements InjectedSinkFunction<ReportSinks['batchJobs']['ended']> {
  readonly callDuringReplay = false;
  readonly #debug: (message: string, attributes: Record<string, unknown>) => void;
  readonly #hints = new Hints((batchId, workflowIds) => this.#signal(batchId, workflowIds));
  readonly #waiting: EndedRun[] = [];
  /** Ids of the runs that wait or are asked for: the task of a workflow that fails calls again and again. */
  readonly #known = new Set<string>();
  readonly #asking = new Set<Promise<void>>();
  #clientOf: ClientOf | undefined;
  readonly #stop = new AbortController();
  #closing: Promise<void> | undefined;

  constructor(debug: (message: string, attributes: Record<string, unknown>) => void, clientOf?: ClientOf) {
    this.#debug = debug;
    this.#clientOf = clientOf;
  }

  /** Says through which client it works, for where the worker was made after it. */
  start(clientOf: ClientOf): void {
    this.#clientOf = clientOf;
  }

  /** Called by the SDK, which waits for it before it answers the workflow's task. */
  fn(_info: WorkflowInfo, run: EndedRun): void {
    if (this.#stop.signal.aborted || this.#known.has(run.runId)) return;
    if (this.#known.size >= MAX_HELD) {
      this.#debug('The end of a workflow is not reported: too many end at once', { ...run });
      return;
    }
    this.#known.add(run.runId);
    this.#waiting.push(run);
    this.#askNext();
  }

  /** Ends what is under way, in a moment or not at all. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#stop.abort();
    let timer: NodeJS.Timeout | undefined;
    const isOver = new Promise<void>((resolve) => (timer = setTimeout(resolve, CALLS.reportGrace)));
    await Promise.race([this.#finish(), isOver]);
    clearTimeout(timer);
    this.#waiting.length = 0;
    this.#hints.discard();
  }

  async #finish(): Promise<void> {
    while (this.#asking.size > 0) await Promise.all(this.#asking);
    await this.#hints.flush();
  }

  #askNext(): void {
    while (this.#asking.size < MAX_ASKED && this.#waiting.length > 0) {
      const run = this.#waiting.shift()!;
      const asking = this.#ask(run).finally(() => {
        this.#asking.delete(asking);
        this.#known.delete(run.runId);
        this.#askNext();
      });
      this.#asking.add(asking);
    }
  }

  async #ask(run: EndedRun): Promise<void> {
    try {
      if (await this.#isEnd(run)) this.#hints.add(run.batchId, run.workflowId);
    } catch (error) {
      this.#debug('Whether a workflow has ended is not known; its batch will look', { ...run, error });
    }
  }

  /** Waits until the run is closed. @returns whether the workflow has ended with it; also false when it takes too long */
  async #isEnd({ workflowId, runId }: EndedRun): Promise<boolean> {
    const { signal } = this.#stop;
    const giveUpAt = Date.now() + CALLS.closing;
    for (;;) {
      const event = await this.#closeEvent({ workflowId, runId });
      if (event) return nextRunIdOf(event) === undefined;
      if (Date.now() >= giveUpAt) return false;
      await delay(PAUSE_MS, undefined, { signal }).catch(() => {});
      if (signal.aborted) return false;
    }
  }

  /** @returns undefined while the run is open */
  async #closeEvent(execution: { workflowId: string; runId: string }) {
    const client = this.#open();
    try {
      // The server answers a second earlier: with a second left it would not wait at all.
      const { history } = await client.withDeadline(Date.now() + CALLS.closingPoll, () =>
        client.workflowService.getWorkflowExecutionHistory({
          namespace: client.options.namespace,
          execution,
          historyEventFilterType: CLOSE_EVENT,
          waitNewEvent: true,
          skipArchival: true,
        }),
      );
      return history?.events?.[0];
    } catch (error) {
      if (isGrpcDeadlineError(error)) return undefined;
      throw error;
    }
  }

  async #signal(batchId: string, workflowIds: readonly string[]): Promise<void> {
    try {
      const client = this.#open();
      const workflowId = batchWorkflowId(batchId);
      await client.withDeadline(Date.now() + CALLS.report, async () => {
        const speaker = await speakerFor(client, workflowId);
        await speaker.workflow.getHandle(workflowId).signal(workflowsEndedSignal, { workflowIds });
      });
    } catch (error) {
      this.#debug('A batch could not be told that workflows have ended; it will look', { batchId, error });
    }
  }

  #open(): Client {
    const client = this.#clientOf?.();
    if (!client) throw new Error('The worker has no connection.');
    return client;
  }
}

/**
 * The client, or one without its codecs where the batch has none: workers of the batch need not have those of this
 * worker, and a signal that they cannot read would fail the batch's workflow task again and again.
 */
async function speakerFor(client: Client, workflowId: string): Promise<Client> {
  if (!hasCodecs(client)) return client;
  const input = await firstPayload(client, workflowId);
  if (!input || !isPlain(input)) return client;
  return new Client({ connection: client.connection, namespace: client.options.namespace });
}
