import { isGrpcServiceError, ServiceError } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';

/** gRPC status codes with which a server refuses a request: INVALID_ARGUMENT, ALREADY_EXISTS, PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED. */
const REFUSALS: readonly number[] = [3, 6, 7, 12, 16];
/** NOT_FOUND, FAILED_PRECONDITION, OUT_OF_RANGE: of a start with an update it may be the update that is meant. */
const REFUSALS_OF_STARTS: readonly number[] = [5, 9, 11];
const RESOURCE_EXHAUSTED = 8;

/** Names of errors that say nothing of what became of a request. */
const UNCERTAIN_NAMES: readonly string[] = ['AbortError', 'WorkflowUpdateRPCTimeoutOrCancelledError'];

/**
 * Whether a start that threw this has started nothing: the server has refused it, or something on this side did (an
 * interceptor, a payload that cannot be converted). If not, it may have been done: this request, or an earlier try of it.
 */
export function isRefusedStart(error: unknown, { hasUpdate }: { readonly hasUpdate: boolean }): boolean {
  const causes = causesOf(error);
  const answer = causes.find(isGrpcServiceError);
  if (answer) {
    const { code } = answer;
    return REFUSALS.includes(code) || (!hasUpdate && REFUSALS_OF_STARTS.includes(code)) || isTooLarge(answer);
  }
  // What the client throws in place of NOT_FOUND.
  if (error instanceof WorkflowNotFoundError) return !hasUpdate;
  return !causes.some((cause) => cause instanceof ServiceError || UNCERTAIN_NAMES.includes(cause.name));
}

function causesOf(error: unknown): Error[] {
  const causes: Error[] = [];
  for (let cause = error; cause instanceof Error && !causes.includes(cause); cause = cause.cause)
    causes.push(cause);
  return causes;
}

/** A message that no server takes, as opposed to a server that is busy. */
function isTooLarge({ code, details }: { code: number; details: string }): boolean {
  return code === RESOURCE_EXHAUSTED && /larger than max/i.test(details);
}
