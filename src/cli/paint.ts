import { styleText } from 'node:util';
import type { CliContext, CliOutput } from './context.ts';

export type Style = 'bold' | 'cyan' | 'dim' | 'green' | 'red' | 'yellow';
export type Paint = (style: Style, text: string) => string;

/** Colours for an output: none where it is no terminal, or NO_COLOR asks for none (https://no-color.org). */
export function painter({ env }: Pick<CliContext, 'env'>, output: CliOutput): Paint {
  const hasColors = output.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  // What Node would look at is its own standard output.
  return (style, text) => (hasColors ? styleText(style, text, { validateStream: false }) : text);
}

/** The colour of a status of batches, jobs and callbacks. */
export function statusStyle(status: string): Style {
  switch (status) {
    case 'complete':
    case 'completed':
      return 'green';
    case 'failed':
      return 'red';
    case 'cancelled':
    case 'paused':
      return 'yellow';
    default:
      return 'cyan';
  }
}
