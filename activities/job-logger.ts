import { trace } from '@opentelemetry/api';
import { log } from '@temporalio/activity';
import type { Logger, LogLevel, LogMetadata } from '@temporalio/common';
import type { HandlerCall } from './running-jobs.ts';

/**
 * The activity's logger with the job's own fields in every line. Its attempt is the job's: the activity is a chunk of
 * many. Made once a job, so it holds no closures but this.
 */
export function jobLogger(call: HandlerCall): Logger {
  const { batchId, jid, attempt, round, job } = call;
  const fields: LogMetadata = {
    ...(batchId === undefined ? {} : { batchId, round }),
    jid,
    workerClass: job.name,
    attempt,
    ...traceFields(call),
  };
  const write = (level: LogLevel) => (message: string, meta?: LogMetadata) =>
    log.log(level, message, { ...fields, ...meta });
  return {
    log: (level, message, meta) => log.log(level, message, { ...fields, ...meta }),
    trace: write('TRACE'),
    debug: write('DEBUG'),
    info: write('INFO'),
    warn: write('WARN'),
    error: write('ERROR'),
  };
}

/** By the names that tools look for to show a line with its trace. */
function traceFields({ trace: context }: HandlerCall): LogMetadata {
  const span = context && trace.getSpanContext(context);
  return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
}
