import { PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import {
  context,
  createNoopMeter,
  metrics,
  propagation,
  trace,
  type MeterProvider,
} from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';
import { MeterProvider as SdkMeterProvider } from '@opentelemetry/sdk-metrics';
import { afterEach, describe, expect, test } from 'vitest';
import { ChunkTelemetry } from '../../activities/chunk-telemetry.ts';
import { instruments } from '../../src/telemetry/instruments.ts';
import { activeTrace, contextOf, inSpan, installedTracer } from '../../src/telemetry/tracing.ts';

function uninstall() {
  trace.disable();
  context.disable();
  propagation.disable();
  metrics.disable();
}
afterEach(uninstall);

function installTracing() {
  trace.setGlobalTracerProvider(new BasicTracerProvider());
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(
    new CompositePropagator({ propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()] }),
  );
}

describe('without an SDK', () => {
  test('there are no instruments, no tracer, and no trace that travels', async () => {
    expect(instruments()).toBeUndefined();
    expect(installedTracer()).toBeUndefined();
    expect(activeTrace()).toBeUndefined();
    expect(await inSpan('x', {}, async (span) => span)).toBeUndefined();
  });

  test('asking for them allocates nothing', async () => {
    const ask = (times: number) => {
      let found = 0;
      for (let i = 0; i < times; i++) if (instruments() ?? installedTracer()) found++;
      return found;
    };
    expect(
      await collectionsDuring(() => Array.from({ length: 6_000_000 }, (_, i) => ({ i })).length),
    ).toBeGreaterThan(2);
    ask(100_000);
    // An object of the smallest size for each would be a dozen collections of the young generation.
    expect(await collectionsDuring(() => ask(5_000_000))).toBeLessThanOrEqual(2);
  });
});

async function collectionsDuring(run: () => unknown): Promise<number> {
  let collections = 0;
  const observer = new PerformanceObserver((list) => (collections += list.getEntries().length));
  observer.observe({ entryTypes: ['gc'] });
  run();
  await turn();
  await turn();
  observer.disconnect();
  return collections;
}

test('an SDK that is installed late, or replaced, is noticed', () => {
  expect(instruments()).toBeUndefined();
  metrics.setGlobalMeterProvider(new SdkMeterProvider());
  const first = instruments();
  expect(first).toBeDefined();
  expect(instruments()).toBe(first);
  metrics.disable();
  expect(instruments()).toBeUndefined();
  metrics.setGlobalMeterProvider(new SdkMeterProvider());
  expect(instruments()).not.toBe(first);
  installTracing();
  expect(installedTracer()).toBeDefined();
});

test('a provider that measures nothing counts as none', () => {
  const provider: MeterProvider = { getMeter: () => createNoopMeter() };
  metrics.setGlobalMeterProvider(provider);
  expect(instruments()).toBeUndefined();
});

test('a trace travels as text, and what was installed gets it back', async () => {
  installTracing();
  const [carrier, before] = await inSpan('outer', {}, async (span) => [activeTrace(), span!.spanContext()]);
  expect(Object.keys(carrier!)).toEqual(['traceparent']);
  const after = trace.getSpanContext(contextOf(JSON.parse(JSON.stringify(carrier))));
  expect(after).toMatchObject({ traceId: before.traceId, spanId: before.spanId, isRemote: true });
});

test('baggage that is too long stays behind, and the trace travels', async () => {
  installTracing();
  const baggage = propagation.createBaggage(
    Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`key-${i}`, { value: 'x'.repeat(100) }])),
  );
  await context.with(propagation.setBaggage(context.active(), baggage), async () => {
    const carrier = await inSpan('outer', {}, async () => activeTrace());
    expect(Object.keys(carrier!)).toEqual(['traceparent']);
  });
});

test('a span of what throws says so, and the error is thrown on as it was', async () => {
  installTracing();
  const error = new RangeError('too far');
  await expect(inSpan('x', {}, () => Promise.reject(error))).rejects.toBe(error);
});

test('a processor that throws ends no job', () => {
  const breaks = () => {
    throw new Error('The processor is broken');
  };
  const onEnd = { onStart: () => {}, onEnd: breaks, forceFlush: async () => {}, shutdown: async () => {} };
  const onStart = { ...onEnd, onStart: breaks };
  const job = { batchId: 'b', jid: 'b/1', attempt: 1, round: 1 };
  for (const processor of [onEnd, onStart]) {
    const tracer = new BasicTracerProvider({ spanProcessors: [processor] }).getTracer('x');
    const telemetry = new ChunkTelemetry(undefined, 'queue', { tracer, context: context.active() });
    const started = telemetry.attemptStarted('Job', job);
    expect(started === undefined).toBe(processor === onStart);
    telemetry.attemptEnded('Job', 'complete', { ms: 1, trace: started });
  }
});
