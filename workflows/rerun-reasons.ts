import { line } from './failed-sample.ts';
import { clip, countOf, type Span } from './spans.ts';

interface Reason {
  readonly spans: readonly Span[];
  readonly why: string;
}

const MAX_REASONS = 10;
/** Of a reason, and of a chunk: enough to recognise one by the other. */
const MAX_SPANS = 20;
const MAX_WHY_LENGTH = 50;

/**
 * Why jobs run again, for the lines of their chunks in the Web UI. Only the last few: nothing depends on them, so that
 * a run of the workflow that continues another one begins without any.
 */
export class RerunReasons {
  /** The newest first. */
  #reasons: readonly Reason[] = [];

  note(spans: readonly Span[], why: string): void {
    if (spans.length === 0) return;
    const reason = { spans: spans.slice(0, MAX_SPANS), why: line(why, MAX_WHY_LENGTH) };
    this.#reasons = [reason, ...this.#reasons].slice(0, MAX_REASONS);
  }

  /** What was noted last of any of these jobs. */
  of(spans: readonly Span[]): string | undefined {
    if (this.#reasons.length === 0) return undefined;
    const first = spans.slice(0, MAX_SPANS);
    for (const reason of this.#reasons) {
      const shared = reason.spans.reduce((sum, [from, to]) => sum + countOf(clip(first, from, to)), 0);
      if (shared > 0) return `${shared < countOf(spans) ? 'some ' : ''}again: ${reason.why}`;
    }
    return undefined;
  }
}
