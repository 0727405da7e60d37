import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

// docs/contract.md names the test of each promise. Read as text, so that the page cannot rot.
interface Promised {
  readonly section: string;
  readonly number: number;
  readonly tests: { readonly file: string; readonly title: string }[];
}

const SECTIONS = [
  'Enrolment',
  'Transitions and callbacks',
  'Retries',
  'Data',
  'Crashes',
  'Duplicates and order',
  'Steering',
  'Workflows as jobs',
  'Command line',
  'Observability',
  'Testing',
];

const root = new URL('../../', import.meta.url);
const lines = readFileSync(new URL('docs/contract.md', root), 'utf8').split('\n');

/** Lines that are neither a promise nor a test of one, but look like one of them. */
const unread: string[] = [];
const promises: Promised[] = [];
const sections: string[] = [];
const pending = new Set<string>();
for (const line of lines) {
  const number = /^(\d+)\. \S/.exec(line)?.[1];
  const named = /^ +- (test\/\S+\.ts): "(.+)"$/.exec(line);
  if (line.startsWith('## ')) sections.push(line.slice(3));
  else if (line === '(pending)') pending.add(sections.at(-1)!);
  else if (number) promises.push({ section: sections.at(-1)!, number: Number(number), tests: [] });
  else if (named) promises.at(-1)!.tests.push({ file: named[1]!, title: named[2]! });
  else if (/^\s*(-|\d+[.)])/.test(line)) unread.push(line);
}

/** Titles of the tests in a file, as its source writes them; `test.each` has its placeholders. */
function titlesIn(file: string): string[] {
  const url = new URL(file, root);
  if (!existsSync(url)) return [];
  const calls = readFileSync(url, 'utf8').matchAll(
    /(?:\btest(?:\.\w+)*|\))\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1,\s*(?:async\b|\(|\{)/g,
  );
  return [...calls].map(([, , title]) => title!.replaceAll(/\\(.)/g, '$1'));
}

test('has its sections in order, each with promises or marked as pending', () => {
  expect(sections).toEqual(SECTIONS);
  expect(unread).toEqual([]);
  const empty = SECTIONS.filter((name) => !promises.some(({ section }) => section === name));
  expect(empty.filter((name) => !pending.has(name))).toEqual([]);
});

test.each(SECTIONS)('numbers the promises of "%s" from 1 without gaps', (name) => {
  const numbers = promises.filter(({ section }) => section === name).map(({ number }) => number);
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
});

test('names a test for every promise', () => {
  expect(promises.filter(({ tests }) => tests.length === 0)).toEqual([]);
});

test('names no test that does not exist', () => {
  const named = promises.flatMap(({ tests }) => tests);
  const missing = named.filter(({ file, title }) => !titlesIn(file).includes(title));
  expect(named.length).toBeGreaterThan(0);
  expect(missing).toEqual([]);
});
