import { log } from '@temporalio/activity';
import type { Logger, LogLevel, LogMetadata } from '@temporalio/common';

/** The activity's logger with the job's own fields in every line. Made once a job, so it holds no closures but this. */
export function jobLogger(batchId: string | undefined, jid: string, workerClass: string): Logger {
  const fields: LogMetadata = { ...(batchId === undefined ? {} : { batchId }), jid, workerClass };
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
