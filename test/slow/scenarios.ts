import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, type WorkflowHandle } from '@temporalio/client';
import { expect } from 'vitest';
import { BatchPlugin, defineJob, type Batch, type BatchOptions } from '../../src/index.ts';
import { createBatch, openBlock } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { lockTable } from '../support/table-lock.ts';
import type { World } from '../support/world.ts';
import type { BatchState } from '../../workflows/batch-state.ts';
import type { batchStep, StepJob } from '../../workflows/index.ts';
import { workflowsEndedSignal } from '../../workflows/messages.ts';
import { stepWorkflowId } from '../../workflows/names.ts';

/** One class of what can happen to a batch: makes it happen, and says which workflows show it. */
export interface Scenario {
  /** Name of the folder that keeps its recorded histories. */
  readonly name: string;
  /** Needs a world without a worker, to start and kill its own. */
  readonly bringsWorkers?: true;
  /** @returns the id of a workflow; all its runs are replayed, and its children's */
  run(world: World): Promise<string>;
}

const idOf = ({ id }: Batch) => `batch:${id}`;
const isOver = (batch: Batch) => batch.wait({ timeout: PATIENCE });
const handleOf = (world: World, workflowId: string) => world.client.workflow.getHandle(workflowId);
const times = (count: number) => Array.from({ length: count }, (_, index) => index);

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'small-batch-with-retries-failures-and-delays',
    async run(world) {
      const { jobs } = world.fixtures;
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        await jobs.failTimes.performAsync('retried', 1);
        await jobs.failForGood.performAsync('failed');
        await jobs.record.set({ startDelay: '500ms' }).performAsync('late');
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'large-batch-with-a-runner',
    async run(world) {
      const { jobs } = world.fixtures;
      const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
      await batch.jobs(async () => {
        for (const i of times(2_000)) await (i % 200 === 0 ? jobs.failTimes : jobs.noop).performAsync(i, 1);
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'fails-immediately-while-jobs-run',
    async run(world) {
      const { jobs, callbacks } = world.fixtures;
      const batch = await world.batches.create({ description: 'Fails at once', failWhen: 'immediate' });
      await batch.on('failure', callbacks.failsTwice);
      await batch.on('settled', callbacks.onSettled);
      await batch.jobs(async () => {
        await jobs.failForGood.performAsync('bad');
        for (const i of times(300)) await jobs.work.performAsync(i, 200);
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'fails-immediately-and-continues-as-new',
    async run(world) {
      const { jobs, callbacks } = world.fixtures;
      const batch = await world.batches.create({
        description: 'Fails at once',
        failWhen: 'immediate',
        continueAsNewAfterEvents: 40,
      });
      await batch.on('failure', callbacks.failsTwice);
      await batch.jobs(async () => {
        await jobs.failForGood.performAsync('bad');
        for (const i of times(30)) await jobs.failTimes.performAsync(i, 2);
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'block-throws',
    async run(world) {
      const batch = await createBatch(world);
      const block = async () => {
        await world.fixtures.jobs.record.performAsync('before');
        throw new RangeError('row 3 is broken');
      };
      await expect(batch.jobs(block)).rejects.toThrow('row 3 is broken');
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'empty-block',
    async run(world) {
      const batch = await createBatch(world);
      await expect(batch.jobs(() => {})).rejects.toMatchObject({ code: 'EMPTY_BATCH' });
      return idOf(batch);
    },
  },
  {
    name: 'enqueuer-falls-silent',
    async run(world) {
      const batch = await createBatch(world, { enrollmentTimeout: '2s' });
      await openBlock(world, batch.id);
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'block-never-heard',
    async run(world) {
      const batch = await createBatch(world, { enrollmentTimeout: '1s' });
      await openBlock(world, batch.id, { isHeard: false });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'block-never-opened',
    async run(world) {
      const batch = await createBatch(world, { openTimeout: 3_000 * SLOWNESS });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'continues-as-new',
    async run(world) {
      const { jobs } = world.fixtures;
      const batch = await createBatch(world, { continueAsNewAfterEvents: 40 });
      await batch.jobs(async () => {
        for (const i of times(400)) await jobs.failTimes.performAsync(i, i % 4);
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'two-task-queues',
    async run(world) {
      const { record } = world.fixtures.jobs;
      const other = `${world.taskQueue}-other`;
      const worker = await world.startWorker({ taskQueue: other });
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        for (const i of times(20)) {
          await record.performAsync(i);
          await record.set({ taskQueue: other }).performAsync(i);
        }
      });
      await isOver(batch);
      await worker.stop();
      return idOf(batch);
    },
  },
  {
    name: 'unknown-job',
    async run(world) {
      const missing = defineJob('NobodyKnowsMe', async () => {});
      const batch = await createBatch(world, { unknownJobTimeout: '1s' });
      await batch.jobs(() => missing.performAsync());
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'callback-fails-for-good',
    async run(world) {
      const { callbacks, jobs } = world.fixtures;
      const batch = await world.batches.create({ description: 'Exhausted' });
      await batch.on('complete', callbacks.failsForGood);
      await batch.on('settled', callbacks.onSettled);
      await batch.jobs(() => jobs.record.performAsync(1));
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'runner-terminated',
    async run(world) {
      const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
      await batch.jobs(async () => {
        for (const i of times(300)) await workOrWait(world, i, 300);
      });
      await handleOf(world, await runnerOf(world, batch)).terminate('by an operator');
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'slow-job-in-a-runner',
    async run(world) {
      const { work } = world.fixtures.jobs;
      const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
      await batch.jobs(async () => {
        await work.performAsync('slow', 8_000);
        for (const i of times(1_500)) await work.performAsync(i, 100);
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'slow-job-in-the-batch',
    async run(world) {
      const { failTimes, work } = world.fixtures.jobs;
      const batch = await createBatch(world, { continueAsNewAfterEvents: 120 });
      await batch.jobs(async () => {
        await work.performAsync('slow', 8_000);
        await failTimes.performAsync('retried beside it', 2);
        for (const i of times(600)) {
          await work.performAsync(i, 10);
          if (i % 100 === 99) await delay(300);
        }
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'cancel-requested',
    async run(world) {
      const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
      await batch.jobs(async () => {
        for (const i of times(150)) await workOrWait(world, i, 300);
      });
      await handleOf(world, idOf(batch)).cancel();
      await handleOf(world, await runnerOf(world, batch)).cancel();
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'wrong-and-repeated-signals',
    async run(world) {
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        for (const i of times(5)) await world.fixtures.jobs.work.performAsync(i, 3_000 * SLOWNESS);
      });
      const handle = handleOf(world, idOf(batch));
      await handle.signal('enrolled', { token: 'another', upTo: 99, queues: [] });
      await handle.signal('completed');
      await handle.signal('failed', { runner: 'nobody', completed: 0, failed: 1, ended: true });
      // Says that the runner of the five jobs ended without any: the counts are repaired from the rows.
      await handle.signal('completed', { runner: '1', completed: 0, failed: 0, ended: true });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'worker-killed-twice',
    bringsWorkers: true,
    async run(world) {
      const batch = await (async () => {
        const first = await world.spawnWorker();
        const created = await createBatch(world);
        await created.jobs(async () => {
          for (const i of times(120)) await world.fixtures.jobs.work.performAsync(i, 3_000);
        });
        await started(world, created, 0);
        first.kill('SIGKILL');
        await first.exited;
        return created;
      })();
      const before = (await world.ledger.of(batch.id, 'job')).length;
      const second = await world.spawnWorker();
      await started(world, batch, before);
      second.kill('SIGKILL');
      await second.exited;
      await world.spawnWorker();
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'sealed-without-a-worker',
    bringsWorkers: true,
    async run(world) {
      const worker = await world.startWorker();
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        await world.fixtures.jobs.record.performAsync(1);
        await worker.stop();
        await world.fixtures.jobs.record.performAsync(2);
      });
      await world.startWorker();
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    // Its first jobs are handed out, and cancelled, before Temporal hears of them.
    name: 'stopped-in-the-task-of-its-seal',
    bringsWorkers: true,
    async run(world) {
      const worker = await world.startWorker();
      const deadline = Math.ceil(3_000 * SLOWNESS);
      const batch = await createBatch(world, { deadline, afterDeadline: 'cancel' });
      await batch.jobs(async () => {
        await worker.stop();
        await world.fixtures.jobs.record.performAsync(1);
      });
      await world.startWorker();
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'paused-changed-and-cancelled',
    async run(world) {
      const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
      await batch.on('cancelled', world.fixtures.callbacks.another);
      await batch.jobs(async () => {
        for (const i of times(300)) await workOrWait(world, i, 300);
      });
      await started(world, batch, 0);
      await batch.pause();
      await batch.update({ failWhenFailed: { moreThan: '5%' }, deadline: '1 day' });
      await batch.resume();
      await batch.cancel({ gracePeriod: '1s' });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'deadline-passes',
    async run(world) {
      const batch = await createBatch(world, { afterDeadline: 'cancel' });
      await batch.jobs(async () => {
        for (const i of times(200)) await workOrWait(world, i, 300);
      });
      await batch.update({ deadline: '500ms' });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    // A workflow task may take 8 s: what comes later is told to the workflow before a local activity's end, and to a
    // replay of it after.
    name: 'slow-database',
    bringsWorkers: true,
    async run(world) {
      await world.startWorker();
      const batch = await createBatch(world, { deadline: '6s', afterDeadline: 'cancel' });
      await using lock = await lockTable(world, 'batch_callbacks');
      const registered = batch.on('cancelled', world.fixtures.callbacks.another);
      await eventually(async () => expect(await lock.waiting()).toHaveLength(1));
      await delay(10_000);
      await lock.release();
      await registered;
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'later-round',
    async run(world) {
      const { jobs } = world.fixtures;
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        for (const i of times(30)) await (i % 3 === 0 ? jobs.failForGood : jobs.noop).performAsync(i);
      });
      await isOver(batch);
      await batch.retryFailed();
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'handlers-add-jobs',
    async run(world) {
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        for (const i of times(5)) await world.fixtures.jobs.adds.performAsync(i, 3);
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'open-ended',
    async run(world) {
      const batch = await createBatch(world, { autoSeal: false });
      for (const i of times(3)) await batch.jobs(() => world.fixtures.jobs.record.performAsync(i));
      await batch.seal();
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'block-taken-over',
    async run(world) {
      const batch = await createBatch(world);
      await openBlock(world, batch.id);
      const block = () => world.fixtures.jobs.record.set({ key: 'one' }).performAsync(1);
      await batch.jobs(block, { resume: true });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'limited',
    async run(world) {
      const { jobs } = world.fixtures;
      const batch = await createBatch(world, {
        maxConcurrentJobs: 5,
        jobLimits: { Work: { maxConcurrentJobs: 2, perSecond: 20 } },
      });
      await batch.jobs(async () => {
        for (const i of times(30)) {
          await jobs.work.performAsync(i, 50);
          await jobs.failTimes.performAsync(i, 1);
        }
        await batch.update({ maxConcurrentJobs: 8 });
      });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'limited-while-runners-run',
    async run(world) {
      const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
      await batch.jobs(async () => {
        for (const i of times(400)) await workOrWait(world, i, 100);
      });
      await runnerOf(world, batch);
      await batch.update({ maxConcurrentJobs: 40 });
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'idle',
    async run(world) {
      const batch = await createBatch(world, { alertAfterIdle: '500ms' });
      await batch.on('idle', world.fixtures.callbacks.another);
      await batch.jobs(() => world.fixtures.jobs.work.performAsync(1, 3_000));
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'plain-job',
    async run(world) {
      // Not by performAsync: beside other worlds there is more than one client to start it with.
      const { name, options } = world.fixtures.jobs.failTimes;
      const jid = await world.batches.startPlainJob({ name, options, isOverridden: false }, ['plain', 1]);
      await handleOf(world, `job:${jid}`).result();
      return `job:${jid}`;
    },
  },
  {
    name: 'workflows-as-jobs',
    async run(world) {
      const { batch, workflows } = await batchOfWorkflows(world, 30);
      for (const [index, workflow] of workflows.entries()) {
        // Nothing is said after the end of the last one, by which the batch may be over.
        if (index % 2 === 1) await sayEnded(world, batch, []);
        await workflow.terminate('by an operator');
        if (index % 2 === 0) await sayEnded(world, batch, [workflow.workflowId, 'nobody']);
      }
      await isOver(batch);
      return idOf(batch);
    },
  },
  {
    name: 'workflows-as-jobs-with-runners-and-cancelled',
    async run(world) {
      const { batch, workflows } = await batchOfWorkflows(world, 6, { continueAsNewAfterEvents: 30 });
      const [first] = workflows;
      await first!.terminate('by an operator');
      await eventually(async () => {
        await sayEnded(world, batch, [first!.workflowId]);
        expect((await batch.progress()).failed).toBe(1);
      });
      await batch.cancel();
      await isOver(batch);
      for (const workflow of workflows.slice(1)) await workflow.terminate();
      return idOf(batch);
    },
  },
  {
    name: 'step-of-a-workflow',
    async run(world) {
      const step = await startStep(world, [{ name: 'Record', args: [1] }]);
      await step.result();
      return step.workflowId;
    },
  },
  {
    name: 'step-of-a-workflow-that-is-cancelled',
    async run(world) {
      const step = await startStep(world, [{ name: 'Work', args: [1, 20_000] }]);
      await eventually(async () => expect((await step.describe()).historyLength).toBeGreaterThan(8));
      await step.cancel();
      await expect(step.result()).rejects.toThrow('Workflow execution cancelled');
      return step.workflowId;
    },
  },
];

/** A job that takes so long. Every tenth one starts later, so that its batch and its runner do not end before. */
async function workOrWait(world: World, index: number, ms: number): Promise<void> {
  const { work } = world.fixtures.jobs;
  await (index % 10 === 9 ? work.set({ startDelay: 5_000 * SLOWNESS }) : work).performAsync(index, ms);
}

/** A batch of workflows that no worker runs. */
async function batchOfWorkflows(world: World, count: number, options: Partial<BatchOptions> = {}) {
  const client = new Client({ connection: world.client.connection, plugins: [new BatchPlugin()] });
  const batch = await createBatch(world, options);
  const workflows: WorkflowHandle[] = [];
  await batch.jobs(async () => {
    for (const i of times(count)) {
      const workflowId = `${batch.id}-${i}`;
      workflows.push(
        await client.workflow.start('nobodysWorkflow', {
          workflowId,
          taskQueue: `${world.taskQueue}-nobody`,
        }),
      );
    }
  });
  return { batch, workflows };
}

function sayEnded(world: World, batch: Batch, workflowIds: readonly string[]): Promise<void> {
  return handleOf(world, idOf(batch)).signal(workflowsEndedSignal, { workflowIds });
}

/** What `executeBatch` starts, without the workflow that it is a step of. */
async function startStep(world: World, jobs: readonly StepJob[]) {
  const batchId = randomUUID();
  return world.client.workflow.start<typeof batchStep>('batchStep', {
    workflowId: stepWorkflowId(batchId),
    taskQueue: world.taskQueue,
    args: [{ batchId, options: { description: 'A step' }, jobs }],
  });
}

/** A runner of the batch that is there by now. */
async function runnerOf(world: World, batch: Batch): Promise<string> {
  return eventually(async () => {
    const { runners } = await handleOf(world, idOf(batch)).query<BatchState>('state');
    const id = Object.keys(runners).find((runner) => !runners[runner]!.inline);
    const workflowId = `${idOf(batch)}/runner/${id}`;
    await handleOf(world, workflowId).describe();
    return workflowId;
  });
}

/** Waits until jobs of the batch have started beyond those that had. */
async function started(world: World, batch: Batch, before: number): Promise<void> {
  await eventually(async () => {
    expect((await world.ledger.of(batch.id, 'job')).length).toBeGreaterThan(before);
  });
}
