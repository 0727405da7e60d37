import { WithStartWorkflowOperation, type WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { startMemberApp, type MemberApp } from '../support/member-app.ts';
import { askUpdate, finishSignal } from '../support/member-workflows.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: MemberApp;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
  app = await startMemberApp(world);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** Starts a workflow of the app. */
function start(
  workflowType: string,
  args: unknown[] = [],
  options: Partial<Parameters<MemberApp['client']['workflow']['start']>[1]> = {},
): Promise<WorkflowHandle> {
  return app.client.workflow.start(workflowType, {
    workflowId: app.newId(),
    taskQueue: app.taskQueue,
    args,
    ...options,
  } as Parameters<MemberApp['client']['workflow']['start']>[1]);
}

/** What the rows say of a batch's jobs. */
async function jobsOf(batch: Batch): Promise<Record<string, unknown>[]> {
  return world.knex.withSchema(world.schema).from('jobs').where('batch_id', batch.id).orderBy('position');
}

describe('a workflow that is started inside an enrolment block', () => {
  test('is a job with its type and arguments, and completes the batch when it does', async () => {
    const batch = await createBatch(world);
    const handles: WorkflowHandle[] = [];
    const { total } = await batch.jobs(async () => {
      for (let i = 1; i <= 3; i++) handles.push(await start('returns', [{ order: i }, 'x']));
    });
    expect(total).toBe(3);
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 3, complete: 3 });
    expect(await jobsOf(batch)).toMatchObject(
      handles.map(({ workflowId }, index) => ({
        position: index + 1,
        workflow_id: workflowId,
        worker_class: 'returns',
        args: [{ order: index + 1 }, 'x'],
        status: 'complete',
        attempts: 1,
        key: null,
      })),
    );
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test('is waited for', async () => {
    const batch = await createBatch(world);
    let handle!: WorkflowHandle;
    await batch.jobs(async () => void (handle = await start('waits')));
    expect(await batch.progress()).toMatchObject({ status: 'running', pending: 1 });
    await handle.signal(finishSignal);
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', complete: 1 });
  });
});
