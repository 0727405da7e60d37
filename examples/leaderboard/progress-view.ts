import type { WriteStream } from 'node:tty';
import { MultiBar } from 'cli-progress';
import { formatCount, formatSeconds } from './format.ts';
import { RateMeter } from './rate-meter.ts';

export interface ProgressView {
  update(progress: { readonly complete: number; readonly failed: number }): void;
  /** Writes a line that stays, above what moves. */
  line(text: string): void;
  close(): void;
}

const BAR_WIDTH = 32;
/** Without a terminal, a line so often. */
const LINE_INTERVAL_MS = 3_000;

/** A bar that moves on a terminal; elsewhere, a line now and then. */
export function openProgressView(
  stream: WriteStream,
  total: number,
  paint: (bar: string) => string,
): ProgressView {
  const meter = new RateMeter();
  return stream.isTTY ? openBar(stream, total, meter, paint) : openLines(stream, total, meter);
}

function openBar(
  stream: WriteStream,
  total: number,
  meter: RateMeter,
  paint: (bar: string) => string,
): ProgressView {
  const bars = new MultiBar({
    stream,
    hideCursor: true,
    // The demo handles signals itself.
    gracefulExit: false,
    format: (_options, { value }, { failed }: { failed: number }) => {
      const filled = Math.floor((value / total) * BAR_WIDTH);
      const bar = `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)}`;
      return `  ${paint(bar)} ${describe({ done: value, failed, total }, meter)}`;
    },
  });
  const bar = bars.create(total, 0, { failed: 0 });
  return {
    update({ complete, failed }) {
      meter.add(complete + failed);
      bar.update(complete + failed, { failed });
    },
    line: (text) => bars.log(`${text}\n`),
    close: () => bars.stop(),
  };
}

function openLines(stream: WriteStream, total: number, meter: RateMeter): ProgressView {
  let written = performance.now();
  return {
    update({ complete, failed }) {
      const done = complete + failed;
      meter.add(done);
      if (performance.now() - written < LINE_INTERVAL_MS && done < total) return;
      if (done === total && written === Infinity) return;
      written = done === total ? Infinity : performance.now();
      stream.write(`  ${describe({ done, failed, total }, meter)}\n`);
    },
    line: (text) => void stream.write(`${text}\n`),
    close: () => {},
  };
}

function describe(
  { done, failed, total }: { done: number; failed: number; total: number },
  meter: RateMeter,
): string {
  const counts = `${Math.floor((done / total) * 100)
    .toString()
    .padStart(3)} %  ${formatCount(done)} of ${formatCount(total)}, ${formatCount(failed)} failed`;
  if (done === total) return `${counts}, ${formatCount(meter.mean())}/s`;
  const rate = meter.current();
  return `${counts}, ${formatCount(rate)}/s, ETA ${rate > 0 ? formatSeconds((total - done) / rate) : '–'}`;
}
