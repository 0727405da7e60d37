import { BATCH_EVENTS, type BatchEvent, type CallbackRegistration } from '../../workflows/batch-state.ts';
import { InvalidOptionError } from '../errors.ts';
import { isCallback, type Callback } from '../jobs/define-callback.ts';
import { assertKnownKeys, assertPlainObject } from '../options.ts';

/** Callbacks by the event that starts them. */
export type CallbacksByEvent = Readonly<Partial<Record<BatchEvent, Callback>>>;

/** @param option its name in an error @throws {@link InvalidOptionError} */
export function resolveRegistration(
  option: string,
  event: BatchEvent,
  callback: Callback,
): CallbackRegistration {
  if (!BATCH_EVENTS.includes(event))
    throw new InvalidOptionError('event', `one of ${BATCH_EVENTS.join(', ')}`, event);
  if (!isCallback(callback)) throw new InvalidOptionError(option, 'made by defineCallback', callback);
  const { taskQueue, startToCloseTimeoutMs, retry } = callback.options;
  return {
    event,
    callback: callback.name,
    startToCloseTimeoutMs,
    retry,
    ...(taskQueue === undefined ? {} : { taskQueue }),
  };
}

/** @throws {@link InvalidOptionError} */
export function resolveCallbacks(callbacks: CallbacksByEvent): CallbackRegistration[] {
  assertPlainObject('callbacks', callbacks);
  assertKnownKeys('callbacks', callbacks, BATCH_EVENTS);
  const given = BATCH_EVENTS.filter((event) => callbacks[event] !== undefined);
  return given.map((event) => resolveRegistration(`callbacks.${event}`, event, callbacks[event]!));
}
