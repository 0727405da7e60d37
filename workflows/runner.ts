import {
  continueAsNew,
  getExternalWorkflowHandle,
  log,
  setCurrentDetails,
  setHandler,
} from '@temporalio/workflow';
import { runnerDetails } from './details.ts';
import { onSignal, shielded } from './handlers.ts';
import {
  chunkDrainedSignal,
  completedSignal,
  failedSignal,
  pingSignal,
  rangeReturnedSignal,
  rangesQuery,
  rushedSignal,
  steeredSignal,
} from './messages.ts';
import { isHistoryFull, isHistoryLong, isStraggling } from './history.ts';
import type { ReturnedRange, RunnerReport } from './ranges.ts';
import type { Steering } from './steering.ts';
import { isExhausted, type RangeState } from './range-state.ts';
import { runRange } from './run-range.ts';
import { workFor, type ForSchema } from './schema.ts';
import { isSpans, parseSpans } from './spans.ts';

/** Half of what Temporal lets a workflow have. */
const MAX_IN_FLIGHT = 1_000;

export interface RunnerInput extends ForSchema {
  readonly batchId: string;
  readonly batchWorkflowId: string;
  /** Which round of the batch it is, from 1. */
  readonly round: number;
  readonly runner: string;
  readonly lane: string;
  readonly limitedNames: readonly string[];
  readonly unknownJobTimeoutMs: number;
  readonly noticeFailures: boolean;
  readonly maxHistoryEvents: number;
  readonly steering: Steering;
  readonly range: RangeState;
  /** How often it has given back a part of its range. */
  readonly returns: number;
}

/**
 * Runs one range of a batch's jobs. A child workflow that outlives its parent's continue-as-new, so it reports by
 * signals to the batch's workflow id.
 */
export async function batchRunner(input: RunnerInput): Promise<void> {
  // As the batch does: Temporal's own cancellation changes nothing.
  await shielded(() => runRunner(input));
}

async function runRunner(input: RunnerInput): Promise<void> {
  const { batchId } = input;
  workFor(input.schema);
  const batch = getExternalWorkflowHandle(input.batchWorkflowId);
  setHandler(pingSignal, () => {});
  let isBatchGone = false;
  let failed = input.range.failed;
  let { steering, returns } = input;
  let current = input.range;
  onSignal(steeredSignal, (message) => {
    if (message.number >= steering.number) steering = message;
    setCurrentDetails(runnerDetails(input, steering, current));
  });

  // Nobody counts any more: the batch's workflow was terminated. Its jobs stop here.
  const batchIsGone = (error: unknown) => {
    log.warn('The batch workflow is gone; this runner stops', { batchId, error: String(error) });
    isBatchGone = true;
  };
  const report = async (message: RunnerReport) => {
    const hasNewFailures = message.failed > failed;
    failed = message.failed;
    try {
      await batch.signal(hasNewFailures ? failedSignal : completedSignal, {
        ...message,
        ...(returns > 0 ? { returns } : {}),
      });
    } catch (error) {
      batchIsGone(error);
    }
  };
  const giveBack = async (part: Pick<ReturnedRange, 'range' | 'kept' | 'idle'>) => {
    const message: ReturnedRange = { runner: input.runner, returns: returns++, ...part };
    failed = 0;
    try {
      await batch.signal(rangeReturnedSignal, message);
    } catch (error) {
      batchIsGone(error);
    }
  };
  // What is left of a range of which the rest was given back is little: it goes on beside the slow chunk.
  const goesOnBeside = (oldestAt: number | undefined) =>
    returns > input.returns && oldestAt !== undefined && isStraggling(oldestAt) && !isHistoryFull();

  setHandler(rangesQuery, () => ({ [input.runner]: current }));
  const range = await runRange(input.range, {
    ...input,
    noticeFailures: () => input.noticeFailures,
    steering: () => steering,
    maxInFlight: MAX_IN_FLIGHT,
    onDrained: (listener) => onSignal(chunkDrainedSignal, listener),
    onRushed: (listener) =>
      onSignal(rushedSignal, ({ spans }) => {
        if (isSpans(spans)) listener(parseSpans(spans));
      }),
    report,
    giveBack,
    onChange: (state) => {
      current = state;
      setCurrentDetails(runnerDetails(input, steering, state));
    },
    // The batch hands out its limits itself, and goes on with the range.
    shouldStop: (oldestAt) =>
      isBatchGone || steering.isLimited || (isHistoryLong(input.maxHistoryEvents) && !goesOnBeside(oldestAt)),
  });
  if (isExhausted(range) || isBatchGone || steering.isStopped) return;
  if (steering.isLimited) await giveBack({ range, kept: '', idle: false });
  else await continueAsNew<typeof batchRunner>({ ...input, steering, range, returns });
}
