/** Why an attempt at a job failed, cut to what a line of the Web UI has room for. Never its arguments. */
export interface JobFailure {
  readonly errorClass: string;
  readonly message: string;
}

/** A job that failed for good. */
export interface FailedJob extends JobFailure {
  readonly position: number;
  /** Name of the job. */
  readonly name: string;
}

/**
 * Some of the jobs that failed, for people: whoever opens the Web UI at night sees why without a query. A handful,
 * whatever the size of the batch, so that neither its state nor its messages grow; the rows have all of them.
 */
export const MAX_SAMPLE = 5;
/** Of a chunk, so that its result stays small. */
export const MAX_CHUNK_SAMPLE = 3;
const MAX_NAME_LENGTH = 60;
const MAX_MESSAGE_LENGTH = 160;

/**
 * A sample with further failures. Of each error class one comes before a second of any: three classes say more than
 * three times the same. A job that it has already changes nothing, and the first ones stay.
 */
export function sampled(
  sample: readonly FailedJob[],
  failures: readonly FailedJob[],
  size = MAX_SAMPLE,
): readonly FailedJob[] {
  let next = sample;
  for (const failure of failures) {
    if (next.some(({ position }) => position === failure.position)) continue;
    if (next.length < size) next = [...next, failure];
    else if (!next.some(({ errorClass }) => errorClass === failure.errorClass)) {
      const repeated = indexOfRepeated(next);
      if (repeated >= 0) next = [...next.slice(0, repeated), ...next.slice(repeated + 1), failure];
    }
  }
  return next;
}

/** The last one whose class an earlier one has, too; -1: there is none. */
function indexOfRepeated(sample: readonly FailedJob[]): number {
  return sample.findLastIndex(({ errorClass }, index) =>
    sample.slice(0, index).some((other) => other.errorClass === errorClass),
  );
}

/** What came with a signal, which anybody may send: what is well-formed of it, cut. */
export function wellFormed(failures: unknown): FailedJob[] {
  if (!Array.isArray(failures)) return [];
  return failures.slice(0, MAX_SAMPLE).flatMap((failure: Partial<FailedJob> | null) => {
    const { position, name, errorClass, message } = failure ?? {};
    const isWellFormed =
      Number.isSafeInteger(position) && [name, errorClass, message].every((text) => typeof text === 'string');
    return isWellFormed
      ? [{ position: position!, name: line(name!, MAX_NAME_LENGTH), ...jobFailure(errorClass!, message!) }]
      : [];
  });
}

export function jobFailure(errorClass: string, message: string): JobFailure {
  return { errorClass: line(errorClass, MAX_NAME_LENGTH), message: line(message, MAX_MESSAGE_LENGTH) };
}

/** One line of at most so many characters. */
export function line(text: string, maxLength: number): string {
  // What is cut off is not looked at: a message may have 10,000 characters.
  const flat = text
    .slice(0, 2 * maxLength)
    .replace(/\s+/g, ' ')
    .trim();
  if (flat.length <= maxLength && text.length <= 2 * maxLength) return flat;
  // Not in the middle of a character.
  return `${flat.slice(0, maxLength - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}
