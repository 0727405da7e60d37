import { ApplicationFailure, TemporalFailure } from '@temporalio/common';

/** The class and message of what the user's code threw, beneath Temporal's wrappers. */
export function describeFailure(error: unknown): { errorClass: string; message: string } {
  let innermost = error;
  while (
    innermost instanceof TemporalFailure &&
    innermost.cause &&
    !(innermost instanceof ApplicationFailure)
  ) {
    innermost = innermost.cause;
  }
  if (innermost instanceof ApplicationFailure) {
    return { errorClass: innermost.type ?? 'Error', message: innermost.message };
  }
  if (innermost instanceof Error) return { errorClass: innermost.name, message: innermost.message };
  return { errorClass: 'NonError', message: String(innermost) };
}
