import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { withProgressBar } from '../../src/cli/progress-bar.ts';

/** A stream that says whether it is a terminal, and keeps what is written to it. */
function output(isTTY: boolean) {
  const stream = Object.assign(new PassThrough(), { isTTY });
  return { stream, text: () => String(stream.read() ?? '') };
}

const work = { total: 10, noun: 'jobs' };

test('a progress bar on a terminal shows how far the work is, and returns what it returned', async () => {
  const { stream, text } = output(true);
  const result = await withProgressBar(stream, work, async (update) => {
    update(4);
    return 'done';
  });
  expect(result).toBe('done');
  expect(text()).toContain('of 10 jobs');
});

test('a progress bar writes nothing where nobody watches, or nothing is to be done', async () => {
  for (const { stream, text, total } of [
    { ...output(false), total: 10 },
    { ...output(true), total: 0 },
  ]) {
    await withProgressBar(stream, { ...work, total }, async (update) => update(0));
    expect(text()).toBe('');
  }
});

test('a progress bar ends with its work when that fails', async () => {
  const { stream, text } = output(true);
  const failing = withProgressBar(stream, work, () => Promise.reject(new Error('broken')));
  await expect(failing).rejects.toThrow('broken');
  text();
  stream.write('after');
  expect(text()).toBe('after');
});
