import { styleText } from 'node:util';
import type { WriteStream } from 'node:tty';
import { openProgressView, type ProgressView } from './progress-view.ts';

type Style = 'bold' | 'cyan' | 'dim' | 'green' | 'red' | 'yellow';

/** Where the demo speaks to a person. Knows whether that is a terminal, and one with colours. */
export class Terminal {
  readonly #stream: WriteStream;
  readonly #hasColors: boolean;
  #view: ProgressView | undefined;

  constructor(stream: WriteStream) {
    this.#stream = stream;
    // Only a terminal has the method, and it minds NO_COLOR.
    this.#hasColors = stream.isTTY && stream.hasColors();
  }

  paint(style: Style, text: string): string {
    return this.#hasColors ? styleText(style, text) : text;
  }

  /** Writes a line, above the progress bar where there is one. */
  line(text = ''): void {
    if (this.#view) this.#view.line(text);
    else this.#stream.write(`${text}\n`);
  }

  heading(text: string): void {
    this.line();
    this.line(this.paint('bold', text));
  }

  /** Shows progress towards a total until the next call of `endProgress`. */
  startProgress(total: number): ProgressView {
    this.endProgress();
    this.#view = openProgressView(this.#stream, total, (bar) => this.paint('cyan', bar));
    return this.#view;
  }

  endProgress(): void {
    this.#view?.close();
    this.#view = undefined;
  }
}
