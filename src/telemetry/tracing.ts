import {
  context,
  propagation,
  ROOT_CONTEXT,
  SpanStatusCode,
  trace,
  type Context,
  type ProxyTracerProvider,
  type Span,
  type SpanOptions,
  type Tracer,
} from '@opentelemetry/api';
import type { BatchSettings } from '../../workflows/batch-state.ts';
import { describeError } from '../jobs/outcome.ts';
import { SCOPE } from './instruments.ts';

/** A trace context in the fields of the app's propagator: `traceparent`, `baggage` and the like. */
export type TraceCarrier = Readonly<Record<string, string>>;

/** It is kept in every batch's row and in its workflow's history; baggage can be of any size. */
const MAX_CARRIER_LENGTH = 2_000;

/** The library's tracer, or undefined while the app has installed no SDK. Allocates nothing then. */
export function installedTracer(): Tracer | undefined {
  const provider = trace.getTracerProvider();
  // The API's stand-in for an SDK says what is behind it; another copy of the API has another class of it.
  return 'getDelegateTracer' in provider
    ? (provider as ProxyTracerProvider).getDelegateTracer(SCOPE)
    : provider.getTracer(SCOPE);
}

/** Runs in a span that is a child of `parent`; without an SDK it only runs. */
export async function inSpan<T>(
  name: string,
  options: SpanOptions,
  run: (span: Span | undefined) => Promise<T>,
  parent: Context = context.active(),
): Promise<T> {
  const tracer = installedTracer();
  if (!tracer) return run(undefined);
  const span = tracer.startSpan(name, options, parent);
  try {
    return await context.with(trace.setSpan(parent, span), () => run(span));
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** Class and message as rows show them. */
export function failSpan(span: Span, error: unknown): void {
  const { errorClass, errorMessage } = describeError(error);
  const stack = error instanceof Error && typeof error.stack === 'string' ? { stack: error.stack } : {};
  span.recordException({ name: errorClass, message: errorMessage, ...stack });
  span.setAttribute('error.type', errorClass);
  span.setStatus({ code: SpanStatusCode.ERROR, message: errorMessage });
}

/** The active trace context, to travel; undefined where there is none. */
export function activeTrace(): TraceCarrier | undefined {
  if (!installedTracer()) return undefined;
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  let length = 0;
  const fitting = Object.entries(carrier).filter(([field, value]) => {
    length += field.length + value.length;
    return length <= MAX_CARRIER_LENGTH;
  });
  return fitting.length === 0 ? undefined : Object.fromEntries(fitting);
}

/** The context that a trace context has travelled from; the active one where none has. */
export function contextOf(carrier: TraceCarrier | null | undefined): Context {
  return carrier ? propagation.extract(ROOT_CONTEXT, carrier) : context.active();
}

/** Settings of a batch, or of a round of it, that is started here: its jobs and callbacks belong to the active trace. */
export function withActiveTrace({ trace: _before, ...settings }: BatchSettings): BatchSettings {
  const carrier = activeTrace();
  return carrier ? { ...settings, trace: carrier } : settings;
}
