import { SingleBar } from 'cli-progress';
import type { BatchOverview } from '../database/overview.ts';
import type { CliOutput } from './context.ts';
import { digits } from '../doctor/words.ts';
import { describeCallback, describeCounts, perSecond, seconds, statusWord } from './describe.ts';
import { statusStyle, type Paint } from './paint.ts';
import { RateMeter } from './rate.ts';

/** Shows a batch while it runs. */
export interface WatchView {
  update(overview: BatchOverview): void;
  close(): void;
}

/** A bar on a terminal, and elsewhere a line for each change. */
export function openWatchView(output: CliOutput, paint: Paint): WatchView {
  return output.isTTY ? openBar(output, paint) : openLines(output);
}

/** A line for each change, as one of JSON. */
export function openJsonLines(output: CliOutput, json: (overview: BatchOverview) => object): WatchView {
  return onChange((overview) => output.write(`${JSON.stringify(json(overview))}\n`));
}

function openLines(output: CliOutput): WatchView {
  const meter = new RateMeter();
  const view = onChange((overview) => {
    output.write(`${percentOf(overview).padStart(7)}  ${describeMovement(overview, meter)}\n`);
  });
  return {
    update(overview) {
      meter.add(doneOf(overview), overview.now.getTime());
      view.update(overview);
    },
    close: () => view.close(),
  };
}

/** Passes on what differs from the one before in more than the time. */
function onChange(show: (overview: BatchOverview) => void): WatchView {
  let shown = '';
  return {
    update(overview) {
      const { now: _now, idleSeconds: _idle, etaSeconds: _eta, jobsPerSecond: _rate, ...state } = overview;
      const key = JSON.stringify(state);
      if (key === shown) return;
      shown = key;
      show(overview);
    },
    close: () => {},
  };
}

const BAR_WIDTH = 30;
/** Of a terminal that does not say how wide it is. */
const DEFAULT_COLUMNS = 80;

function openBar(output: CliOutput, paint: Paint): WatchView {
  const meter = new RateMeter();
  const bar = new SingleBar({
    stream: output as NodeJS.WriteStream,
    clearOnComplete: true,
    emptyOnZero: true,
    // A signal ends the process as it does without a bar, and finds the terminal as it was: its lines are left to wrap.
    gracefulExit: false,
    linewrap: true,
    format: (_options, _params, { overview }: { overview: BatchOverview }) => {
      const { columns = DEFAULT_COLUMNS } = output;
      const width = Math.min(BAR_WIDTH, Math.floor(columns / 3));
      const text = `${percentOf(overview)}  ${describeMovement(overview, meter)}`;
      return `${drawBar(overview, width, paint)} ${text.slice(0, Math.max(0, columns - width - 2))}`;
    },
  });
  let isStarted = false;
  return {
    update(overview) {
      meter.add(doneOf(overview), overview.now.getTime());
      if (!isStarted) bar.start(Math.max(1, overview.total), doneOf(overview), { overview });
      isStarted = true;
      bar.setTotal(Math.max(1, overview.total));
      bar.update(doneOf(overview), { overview });
    },
    close: () => bar.stop(),
  };
}

function drawBar(overview: BatchOverview, width: number, paint: Paint): string {
  const share = overview.total === 0 ? 0 : doneOf(overview) / overview.total;
  const filled = Math.floor(share * width);
  const style = overview.failed > 0 ? 'red' : statusStyle(statusWord(overview));
  return `${paint(style, '█'.repeat(filled))}${paint('dim', '░'.repeat(width - filled))}`;
}

/** What has happened, and how it goes on. */
function describeMovement(overview: BatchOverview, meter: RateMeter): string {
  const word = statusWord(overview);
  return [
    `${word === 'running' ? '' : `${word}: `}${describeCounts(overview)}`,
    ...(overview.settledAt === null ? [describeSpeed(overview, meter)] : runningCallbacks(overview)),
  ].join(', ');
}

function describeSpeed(
  { jobsPerSecond, pending, status, idleSeconds }: BatchOverview,
  meter: RateMeter,
): string {
  const rate = meter.perSecond() ?? jobsPerSecond;
  if (rate > 0) {
    // While jobs are enrolled nobody knows how many there will be.
    return status === 'pending' ? perSecond(rate) : `${perSecond(rate)}, ${seconds(pending / rate)} left`;
  }
  return `idle for ${seconds(idleSeconds ?? 0)}`;
}

function runningCallbacks({ callbacks }: BatchOverview): string[] {
  return Object.entries(callbacks ?? {})
    .filter(([, { status }]) => status === 'scheduled' || status === 'running')
    .map(([event, callback]) => describeCallback(event, callback));
}

function percentOf({ percent }: BatchOverview): string {
  return `${digits(percent ?? 0)} %`;
}

function doneOf({ complete, failed, cancelled }: BatchOverview): number {
  return complete + failed + cancelled;
}
