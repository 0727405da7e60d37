import { readFileSync } from 'node:fs';
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Client, WorkflowClientInterceptor } from '@temporalio/client';
import { DataPointType, type MetricData } from '@opentelemetry/sdk-metrics';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { DefaultLogger, MetricsBuffer, type BufferedMetricUpdate, type LogEntry } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { JOBS_IN_BATCH_TRACE } from '../../activities/chunk-telemetry.ts';
import { currentBatch, currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { startMemberApp, type MemberApp } from '../support/member-app.ts';
import { PATIENCE } from '../support/patience.ts';
import { tableRows } from '../support/tables.ts';
import { installTelemetry } from '../support/telemetry.ts';
import { createWorld, type World } from '../support/world.ts';

const telemetry = installTelemetry();
const lines: LogEntry[] = [];
const ofTemporal = new MetricsBuffer();
const tracer = trace.getTracer('the app');
const gates = createGates();

const logs = defineJob('Logs', async () => {
  currentJob().logger.error('A line of a job');
});
const traced = defineJob('Traced', async () => {
  const baggage = propagation.getBaggage(context.active());
  tracer.startSpan('inside', { attributes: { tenant: baggage?.getEntry('tenant')?.value ?? '' } }).end();
});
const returnsDate = defineJob('ReturnsDate', async () => new Date(), { storeResult: true });
/** Starts a workflow in its batch, and does not wait for the answer. */
const startsAndEnds = defineJob('StartsAndEnds', async () => {
  void currentBatch()
    .jobs(startsInHandler)
    .catch(() => {});
  await handlerMayEnd;
});
let startsInHandler: () => Promise<unknown>;
let handlerMayEnd: Promise<void>;
const onIdle = defineCallback('OnIdle', async () => {});
const onSettledTraced = defineCallback('OnSettledTraced', async () => {
  tracer.startSpan('inside the callback').end();
});

let world: World;
beforeAll(async () => {
  world = await createWorld({
    runtime: {
      logger: new DefaultLogger('WARN', (entry) => lines.push(entry)),
      telemetryOptions: { metrics: { buffer: ofTemporal } },
    },
  });
  const { jobs, callbacks } = world.fixtures;
  await world.startWorker({
    jobs: [...Object.values(jobs), ...Object.values(gates.jobs), logs, traced, returnsDate, startsAndEnds],
    callbacks: [...Object.values(callbacks), onIdle, onSettledTraced],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** Rows of the tables of docs/observability.md that begin with this word, by what their first column names. */
function documented(heading: string): Map<string, string[]> {
  const page = readFileSync(new URL('../../docs/observability.md', import.meta.url), 'utf8');
  const rows = tableRows(page);
  let table: string | undefined;
  const found = new Map<string, string[]>();
  for (const cells of rows) {
    const name = /^`(.+)`$/.exec(cells[0]!)?.[1];
    if (name === undefined && !cells[0]!.startsWith('-')) table = cells[0];
    else if (name !== undefined && table === heading) found.set(name, cells);
  }
  return found;
}

const namesIn = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!).sort();

const KINDS: Record<DataPointType, string> = {
  [DataPointType.HISTOGRAM]: 'histogram',
  [DataPointType.EXPONENTIAL_HISTOGRAM]: 'histogram',
  [DataPointType.GAUGE]: 'gauge',
  [DataPointType.SUM]: 'counter',
};

function kindOf(metric: MetricData): string {
  const isCounter = metric.dataPointType === DataPointType.SUM && metric.isMonotonic;
  return metric.dataPointType === DataPointType.SUM && !isCounter
    ? 'updowncounter'
    : KINDS[metric.dataPointType];
}

function valueOf(metrics: MetricData[], name: string, attributes: Record<string, unknown>): number {
  const points = metrics
    .filter(({ descriptor }) => descriptor.name === name)
    .flatMap(({ dataPoints }) => dataPoints as { attributes: Record<string, unknown>; value: unknown }[])
    .filter((point) => Object.entries(attributes).every(([key, value]) => point.attributes[key] === value));
  return points.reduce((sum, { value }) => {
    return sum + (typeof value === 'number' ? value : (value as { count: number }).count);
  }, 0);
}

const ours = () =>
  telemetry.spans().filter(({ instrumentationScope: { name } }) => name === 'temporal-batch-jobs');
const ofBatch = ({ id }: Batch) =>
  ours().filter(({ attributes }) => attributes['batch_jobs.batch_id'] === id);
const traceOf = (span: ReadableSpan) => span.spanContext().traceId;

/** Once the worker has said that the batch is over, by its last span. */
async function spansOf(batch: Batch, isLast: (span: ReadableSpan) => boolean): Promise<ReadableSpan[]> {
  return eventually(() => {
    const spans = ofBatch(batch);
    expect(spans.some(isLast)).toBe(true);
    return spans;
  });
}

/** Runs with a span of the app's own around, and baggage. */
function inTrace<T>(run: () => Promise<T>): Promise<{ result: T; traceId: string }> {
  const baggage = propagation.createBaggage({ tenant: { value: 'seven' } });
  return context.with(propagation.setBaggage(context.active(), baggage), () =>
    tracer.startActiveSpan('request', async (span) => {
      const result = await run();
      span.end();
      return { result, traceId: span.spanContext().traceId };
    }),
  );
}

test('every metric, span and log field of docs/observability.md is emitted, and no other', async () => {
  const { jobs, callbacks } = world.fixtures;
  const updates: BufferedMetricUpdate[] = [];
  const before = await telemetry.metrics();
  expect(before.map(({ descriptor }) => descriptor.name)).not.toContain('batch_jobs.jobs.ended');

  // A job that succeeds, one that does after a retry, one that fails for good, and a callback of each kind.
  const batch = await world.batches.create({ description: 'Observed', alertAfterIdle: '500ms' });
  await batch.on('idle', onIdle);
  await batch.on('failure', callbacks.failsForGood);
  await batch.on('settled', callbacks.onSettled);
  await batch.jobs(async () => {
    await gates.jobs.pass.performAsync(batch.id);
    await jobs.failTimes.performAsync('retried', 1);
    await jobs.failForGood.performAsync('hopeless');
    await logs.performAsync();
  });
  await eventually(async () =>
    expect(await batch.callbacks()).toContainEqual(
      expect.objectContaining({ event: 'idle', status: 'completed' }),
    ),
  );
  await gates.gate(batch.id).arrivals(1);
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 2, failed: 1 }));
  expect(valueOf(await telemetry.metrics(), 'batch_jobs.jobs.running', { task_queue: world.taskQueue })).toBe(
    1,
  );
  gates.gate(batch.id).open();
  await batch.wait({ timeout: PATIENCE });
  await batch.retryFailed();
  await batch.wait({ timeout: PATIENCE });
  await logs.performAsync();
  await eventually(() => expect(ours().some(({ attributes }) => isPlain(attributes))).toBe(true));
  const metrics = await eventually(async () => {
    const now = await telemetry.metrics();
    expect(valueOf(now, 'batch_jobs.callbacks.ended', { outcome: 'failed' })).toBe(2);
    return now;
  });
  await loseChunk();
  await eventually(() => {
    updates.push(...ofTemporal.retrieveUpdates());
    expect(updates.map(({ metric }) => metric.name)).toEqual(expect.arrayContaining(OF_WORKFLOWS));
  });

  const emitted = new Map(
    metrics
      .filter(({ descriptor }) => descriptor.name.startsWith('batch_jobs.'))
      .map((metric) => {
        const points = metric.dataPoints as { attributes: object }[];
        const attributes = new Set(points.flatMap((point) => Object.keys(point.attributes)));
        return [metric.descriptor.name, [kindOf(metric), metric.descriptor.unit, [...attributes].sort()]];
      }),
  );
  for (const name of OF_WORKFLOWS) {
    const { kind, unit } = updates.find(({ metric }) => metric.name === name)!.metric;
    emitted.set(name, [kind, unit ?? '', []]);
  }
  const promised = [...documented('metric')].map(
    ([name, [, kind, unit, attributes]]) =>
      [name, [kind, unit!.replaceAll('`', ''), namesIn(attributes!)]] as const,
  );
  expect(Object.fromEntries(emitted)).toEqual(Object.fromEntries(promised));

  const spans = new Map<string, { kind: string; attributes: Set<string> }>();
  for (const { name, kind, attributes } of ours()) {
    const general = name
      .replace(/^job .*/, 'job <worker class>')
      .replace(/^callback .*/, 'callback <callback>');
    const known = spans.get(general) ?? { kind: SpanKind[kind].toLowerCase(), attributes: new Set() };
    for (const key of Object.keys(attributes)) known.attributes.add(key.replace(/^batch_jobs\./, ''));
    spans.set(general, known);
  }
  expect(
    Object.fromEntries(
      [...spans].map(([name, { kind, attributes }]) => [name, [kind, [...attributes].sort()]]),
    ),
  ).toEqual(
    Object.fromEntries(
      [...documented('span')].map(([name, [, kind, attributes]]) => [name, [kind, namesIn(attributes!)]]),
    ),
  );

  const fields = [...documented('field')].map(([name, [, where]]) => ({ name, where: where! }));
  const named = (pattern: RegExp) =>
    fields.filter(({ where }) => pattern.test(where)).map(({ name }) => name);
  const ofJob = lines.find(
    ({ message, meta }) => message === 'A line of a job' && meta?.['batchId'] === batch.id,
  );
  expect(Object.keys(ofJob!.meta!)).toEqual(expect.arrayContaining(named(/^jobs/)));
  expect(ofJob!.meta).toMatchObject({ jid: `${batch.id}/4`, workerClass: 'Logs', attempt: 1, round: 1 });
  const ofCallback = await lineOfCallback();
  expect(Object.keys(ofCallback.meta!)).toEqual(expect.arrayContaining(named(/activities/)));
});

/** The metrics that workflows emit. */
const OF_WORKFLOWS = ['batch_idle_alerts', 'batch_chunks_lost'];

/** Kills a worker that runs a job, on a task queue of its own; another one does its work. */
async function loseChunk(): Promise<void> {
  const taskQueue = `${world.taskQueue}-lost`;
  const victim = await world.spawnWorker({ taskQueue });
  const batch = await createBatch(world);
  await batch.jobs(() => world.fixtures.jobs.work.set({ taskQueue }).performAsync('lost', 300_000));
  await eventually(async () => expect(await world.ledger.of(batch.id, 'job')).toHaveLength(1));
  victim.kill('SIGKILL');
  await victim.exited;
  const successor = await world.startWorker({ taskQueue, jobs: [defineJob('Work', async () => {})] });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  await successor.stop();
}

function isPlain(attributes: Record<string, unknown>): boolean {
  return attributes['batch_jobs.jid'] !== undefined && attributes['batch_jobs.batch_id'] === undefined;
}

/** A callback that fails: the SDK logs a warning of its own, and we one when its end cannot be written. */
async function lineOfCallback(): Promise<LogEntry> {
  return eventually(() => {
    const line = lines.find(({ meta }) => meta?.['activityType'] === 'runCallback');
    expect(line).toBeDefined();
    return line!;
  });
}

test('counts what the rows count: jobs by class and outcome, batches and callbacks', async () => {
  const before = await telemetry.metrics();
  const { progress } = await runBatch(world, async (jobs) => {
    for (let i = 0; i < 60; i++) await jobs.noop.performAsync(i);
    for (let i = 0; i < 3; i++) await jobs.failForGood.performAsync(i);
    await jobs.failTimes.performAsync('twice', 2);
  });
  const after = await eventually(async () => {
    const now = await telemetry.metrics();
    expect(grown(now, 'batch_jobs.callbacks.ended', { outcome: 'completed' })).toBe(2);
    return now;
  });

  expect(progress).toMatchObject({ complete: 61, failed: 3 });
  expect(grown(after, 'batch_jobs.jobs.enrolled', {})).toBe(64);
  expect(grown(after, 'batch_jobs.jobs.ended', { outcome: 'complete', worker_class: 'Noop' })).toBe(60);
  expect(grown(after, 'batch_jobs.jobs.ended', { outcome: 'complete' })).toBe(61);
  expect(grown(after, 'batch_jobs.jobs.ended', { outcome: 'failed', worker_class: 'FailForGood' })).toBe(3);
  expect(grown(after, 'batch_jobs.jobs.retried', { worker_class: 'FailTimes' })).toBe(2);
  expect(grown(after, 'batch_jobs.job.duration', {})).toBe(66);
  expect(grown(after, 'batch_jobs.batches.started', {})).toBe(1);
  expect(grown(after, 'batch_jobs.batches.ended', { outcome: 'failed' })).toBe(1);
  expect(grown(after, 'batch_jobs.batch.duration', { outcome: 'failed' })).toBe(1);
  expect(grown(after, 'batch_jobs.block.duration', { outcome: 'closed' })).toBe(1);

  function grown(now: MetricData[], name: string, attributes: Record<string, unknown>): number {
    return valueOf(now, name, attributes) - valueOf(before, name, attributes);
  }
});

test('counts workflows that are jobs, by their type', async () => {
  await using app = await startMemberApp(world);
  const { client, taskQueue } = app;
  const before = await telemetry.metrics();
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    for (const workflowType of ['returns', 'returns', 'fails'])
      await client.workflow.start(workflowType, { workflowId: app.newId(), taskQueue, args: [1] });
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ complete: 2, failed: 1 });
  const after = await telemetry.metrics();
  const grown = (name: string, attributes: Record<string, unknown>) =>
    valueOf(after, name, attributes) - valueOf(before, name, attributes);
  expect(grown('batch_jobs.jobs.enrolled', {})).toBe(3);
  expect(grown('batch_jobs.jobs.ended', { outcome: 'complete', worker_class: 'returns' })).toBe(2);
  expect(grown('batch_jobs.jobs.ended', { outcome: 'failed', worker_class: 'fails' })).toBe(1);
  expect(grown('batch_jobs.job.duration', {})).toBe(0);
});

/** A client whose starts never leave: as if its process hung there. */
function hangingClient(app: MemberApp): { client: Client; arrival: Promise<void> } {
  let arrived!: () => void;
  const arrival = new Promise<void>((resolve) => (arrived = resolve));
  const interceptor: WorkflowClientInterceptor = {
    startWithDetails: () => {
      arrived();
      return new Promise(() => {});
    },
  };
  return { client: app.openClient({ interceptors: { workflow: [interceptor] } }), arrival };
}

test('counts workflows that became jobs because nobody said what came of their start', async () => {
  await using app = await startMemberApp(world);
  const { taskQueue } = app;
  const enrolled = async () => valueOf(await telemetry.metrics(), 'batch_jobs.jobs.enrolled', {});
  const start = async (client: Client) =>
    client.workflow.start('returns', { workflowId: app.newId(), taskQueue });

  // Another process takes the block over.
  const before = await enrolled();
  const lost = hangingClient(app);
  const batch = await createBatch(world);
  void batch.jobs(() => start(lost.client)).catch(() => {});
  await lost.arrival;
  const same = await world.batches.find(batch.id);
  expect(await same.jobs(() => world.fixtures.jobs.noop.performAsync(1), { resume: true })).toMatchObject({
    total: 2,
  });
  expect((await enrolled()) - before).toBe(2);
  // Before the workflow counts as not started, and the batch settles.
  await batch.cancel();

  // The batch is sealed meanwhile.
  const sealing = hangingClient(app);
  const stopped = await createBatch(world);
  void stopped.jobs(() => start(sealing.client)).catch(() => {});
  await sealing.arrival;
  await stopped.cancel();
  expect(await stopped.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', total: 1 });
  expect((await enrolled()) - before).toBe(3);

  // Its handler has ended.
  const ofHandler = hangingClient(app);
  startsInHandler = () => start(ofHandler.client);
  handlerMayEnd = ofHandler.arrival;
  const outer = await createBatch(world);
  await outer.jobs(() => startsAndEnds.performAsync());
  await eventually(async () => expect(await outer.progress()).toMatchObject({ complete: 1, total: 2 }));
  await eventually(async () => expect((await enrolled()) - before).toBe(5));
  await outer.cancel();
  for (const one of [batch, outer]) await one.wait({ timeout: PATIENCE });
});

test('counts a job once, though it is added again under its key', async () => {
  const before = valueOf(await telemetry.metrics(), 'batch_jobs.jobs.enrolled', {});
  const { progress } = await runBatch(world, async (jobs) => {
    for (let i = 0; i < 3; i++) await jobs.noop.set({ key: 'one' }).performAsync(i);
  });
  expect(progress).toMatchObject({ total: 1 });
  expect(valueOf(await telemetry.metrics(), 'batch_jobs.jobs.enrolled', {}) - before).toBe(1);
});

test('counts a chunk that was lost with its worker, once', async () => {
  const countLost = () =>
    [...ofTemporal.retrieveUpdates()].filter(({ metric }) => metric.name === 'batch_chunks_lost').length;
  countLost();
  await loseChunk();
  expect(countLost()).toBe(1);
});

test('jobs of a batch that is cancelled are counted as such when it settles', async () => {
  const cancelled = async () =>
    valueOf(await telemetry.metrics(), 'batch_jobs.jobs.ended', { outcome: 'cancelled' });
  const before = await cancelled();
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    for (let i = 0; i < 5; i++) await world.fixtures.jobs.work.performAsync(i, 60_000);
  });
  await batch.cancel({ gracePeriod: '100ms' });
  await batch.wait({ timeout: PATIENCE });
  expect((await cancelled()) - before).toBe(5);
  const [round] = ofBatch(batch).filter(({ name }) => name === 'batch.round');
  expect(round!.attributes).toMatchObject({
    'batch_jobs.outcome': 'cancelled',
    'batch_jobs.cancelled': 5,
    'batch_jobs.total': 5,
  });
});

test('jobs and callbacks run in the trace in which their batch was created, with its baggage', async () => {
  const { result: batch, traceId } = await inTrace(async () => {
    const created = await world.batches.create({ description: 'Traced' });
    await created.on('settled', onSettledTraced);
    await created.jobs(async () => {
      await traced.performAsync();
      await world.fixtures.jobs.failForGood.performAsync('x');
    });
    return created;
  });
  await batch.wait({ timeout: PATIENCE });
  const spans = await spansOf(batch, ({ name }) => name === 'callback OnSettledTraced');
  expect(new Set(spans.map(traceOf))).toEqual(new Set([traceId]));
  const named = (name: string) => spans.filter((span) => span.name === name);
  const [create] = named('batch.create');
  const chunkIds = named('batch.chunk').map((span) => span.spanContext().spanId);
  const [job] = named('job Traced');
  const [failed] = named('job FailForGood');
  expect(chunkIds).toContain(job!.parentSpanContext?.spanId);
  for (const name of ['batch.chunk', 'callback OnSettledTraced', 'batch.round']) {
    expect(named(name)[0]!.parentSpanContext?.spanId).toBe(create!.spanContext().spanId);
  }
  expect(failed!.status).toEqual({ code: SpanStatusCode.ERROR, message: 'x cannot succeed' });
  expect(failed!.attributes).toMatchObject({
    'batch_jobs.jid': `${batch.id}/2`,
    'batch_jobs.attempt': 1,
    'batch_jobs.outcome': 'failed',
    'error.type': 'HopelessError',
  });
  const inside = telemetry.spans().find(({ name, ...span }) => name === 'inside' && isChildOf(span, job!));
  expect(inside?.attributes).toEqual({ tenant: 'seven' });
  const callback = named('callback OnSettledTraced')[0]!;
  expect(
    telemetry.spans().some((span) => span.name === 'inside the callback' && isChildOf(span, callback)),
  ).toBe(true);
});

function isChildOf(span: Pick<ReadableSpan, 'parentSpanContext'>, parent: ReadableSpan): boolean {
  return span.parentSpanContext?.spanId === parent.spanContext().spanId;
}

test('a result that cannot be stored is the error of its span', async () => {
  const { batch } = await runBatch(world, () => returnsDate.performAsync());
  const spans = await spansOf(batch, ({ name }) => name === 'job ReturnsDate');
  const [job] = spans.filter(({ name }) => name === 'job ReturnsDate');
  expect(job!.attributes).toMatchObject({
    'batch_jobs.outcome': 'failed',
    'error.type': 'InvalidResultError',
  });
});

test('a round runs in the trace of the call that opened it', async () => {
  const { result: batch, traceId } = await inTrace(async () => {
    const created = await createBatch(world);
    await created.jobs(() => world.fixtures.jobs.failForGood.performAsync('again'));
    return created;
  });
  await batch.wait({ timeout: PATIENCE });
  const { traceId: ofRetry } = await inTrace(() => batch.retryFailed());
  await batch.wait({ timeout: PATIENCE });
  const isOfRound = (number: number) => (span: ReadableSpan) =>
    span.attributes['batch_jobs.round'] === number;
  const spans = await spansOf(batch, (span) => isOfRound(2)(span) && span.name === 'callback OnSettled');
  expect(ofRetry).not.toBe(traceId);
  expect(new Set(spans.filter(isOfRound(1)).map(traceOf))).toEqual(new Set([traceId]));
  expect(new Set(spans.filter(isOfRound(2)).map(traceOf))).toEqual(new Set([ofRetry]));
});

test('a plain job runs in the trace in which it was started', async () => {
  const { result: jid, traceId } = await inTrace(() => traced.performAsync());
  const span = await eventually(() => {
    const found = ours().find(({ attributes }) => attributes['batch_jobs.jid'] === jid);
    expect(found).toBeDefined();
    return found!;
  });
  expect(traceOf(span)).toBe(traceId);
});

test('chunks behind the first jobs of a batch are traces of their own, with a link to it', async () => {
  // A chunk has at most 2,000: one of them begins behind the first jobs.
  const total = JOBS_IN_BATCH_TRACE + 4_000;
  const { result: batch, traceId } = await inTrace(async () => {
    const created = await createBatch(world);
    await created.jobs(async () => {
      for (let i = 1; i <= total; i++) await world.fixtures.jobs.noop.performAsync(i);
    });
    return created;
  });
  await batch.wait({ timeout: PATIENCE });
  const spans = await spansOf(batch, ({ name }) => name === 'callback OnSettled');
  const chunks = spans.filter(({ name }) => name === 'batch.chunk');
  const firstOf = (span: ReadableSpan) =>
    Number.parseInt(String(span.attributes['batch_jobs.positions']), 10);
  const far = chunks.filter((span) => firstOf(span) > JOBS_IN_BATCH_TRACE);
  expect(far.length).toBeGreaterThan(0);
  for (const span of far) {
    expect(traceOf(span)).not.toBe(traceId);
    expect(span.parentSpanContext).toBeUndefined();
    expect(span.links.map((link) => link.context.traceId)).toEqual([traceId]);
  }
  for (const span of chunks.filter((chunk) => !far.includes(chunk))) expect(traceOf(span)).toBe(traceId);
  expect(spans.filter(({ name }) => name === 'job Noop')).toHaveLength(total);
});

test('a batch that is created in no trace has one of its own', async () => {
  const { batch } = await runBatch(world, (jobs) => jobs.noop.performAsync(1));
  const spans = await spansOf(batch, ({ name }) => name === 'callback OnSettled');
  const [create] = spans.filter(({ name }) => name === 'batch.create');
  const below = spans.filter(({ name }) => name !== 'batch.create' && name !== 'batch.enrol');
  expect(new Set(below.map(traceOf))).toEqual(new Set([traceOf(create!)]));
});

test('a block that throws is failed, in its span and its metric', async () => {
  const before = valueOf(await telemetry.metrics(), 'batch_jobs.block.duration', { outcome: 'failed' });
  const batch = await createBatch(world);
  const block = async () => {
    await world.fixtures.jobs.noop.performAsync(1);
    throw new RangeError('in the middle');
  };
  await expect(batch.jobs(block)).rejects.toThrow('in the middle');
  await batch.wait({ timeout: PATIENCE });
  const [span] = ofBatch(batch).filter(({ name }) => name === 'batch.enrol');
  expect(span!.status).toEqual({ code: SpanStatusCode.ERROR, message: 'in the middle' });
  expect(span!.attributes['error.type']).toBe('RangeError');
  expect(valueOf(await telemetry.metrics(), 'batch_jobs.block.duration', { outcome: 'failed' })).toBe(
    before + 1,
  );
});
