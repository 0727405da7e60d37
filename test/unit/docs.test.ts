import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

// What can be checked of README.md and docs/*.md without running it: that links lead somewhere, and that code which is
// shown as that of an example is that.
//
// A code block says by its fence where its code comes from:
//
//     ```ts file=examples/recipes/chain/app.ts    the whole file
//     ```ts from=examples/recipes/chain/app.ts    lines of it that follow one another, indented as there or less
//
// The files are compiled by `npm run typecheck`, and run by test/slow/examples.test.ts and package.test.ts.
// Blocks with neither are fragments: they show a call, and leave out what is around it.

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string) => readFileSync(path.join(root, file), 'utf8');
const pages = [
  'README.md',
  ...readdirSync(path.join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

interface Page {
  readonly prose: string;
  readonly blocks: readonly { readonly info: string; readonly code: string }[];
}

/** A page without its code blocks, and these. */
function parse(text: string): Page {
  const blocks: { info: string; code: string }[] = [];
  const prose = text.replaceAll(/^```(.*)\n([^]*?)^```$/gm, (_, info: string, code: string) => {
    blocks.push({ info, code });
    return '';
  });
  return { prose, blocks };
}

/** As GitHub makes them: lower case, without punctuation, each space a hyphen, repeated ones numbered. */
function anchorsOf(prose: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading] of prose.matchAll(/^#{1,6} +(.+?) *$/gm)) {
    const text = heading!.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1');
    const anchor = text
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-');
    const count = seen.get(anchor) ?? 0;
    seen.set(anchor, count + 1);
    anchors.add(count === 0 ? anchor : `${anchor}-${count}`);
  }
  return anchors;
}

/** Targets of links and pictures that are not on other sites. Code spans hold brackets that are no links. */
function linksOf(prose: string): string[] {
  const links = prose.replaceAll(/`[^`\n]*`/g, '').matchAll(/\]\(<?([^)\s>]+)>?(?: "[^"]*")?\)/g);
  return [...links].map(([, target]) => target!).filter((target) => !/^[a-z]+:/.test(target));
}

function problemOf(page: string, link: string): string | undefined {
  const [target, anchor] = link.split('#') as [string, string?];
  const file = target === '' ? page : path.posix.join(path.posix.dirname(page), decodeURI(target));
  if (file.startsWith('..')) return `${link} leaves the repository`;
  if (!existsSync(path.join(root, file))) return `${link} leads to no file`;
  if (anchor === undefined || !file.endsWith('.md')) return undefined;
  return anchorsOf(parse(read(file)).prose).has(anchor) ? undefined : `${link} leads to no heading`;
}

describe.each(pages)('%s', (page) => {
  const { prose, blocks } = parse(read(page));

  test('has links that lead to a file, and anchors that lead to a heading', () => {
    const problems = linksOf(prose).map((link) => problemOf(page, link));
    expect(problems.filter((problem) => problem !== undefined)).toEqual([]);
  });

  const shown = blocks.flatMap(({ info, code }) => {
    const source = /(?:^| )(file|from)=(\S+)$/.exec(info);
    return source ? [{ how: source[1]!, file: source[2]!, code }] : [];
  });
  test('shows code of examples as it is', () => {
    const others = shown.filter(({ how, file, code }) =>
      how === 'file' ? code !== read(file) : !isExcerpt(code, read(file)),
    );
    expect(others).toEqual([]);
  });
});

/** Whether the lines stand in the file one after the other. A page does not indent what stands deep in a file. */
function isExcerpt(code: string, file: string): boolean {
  const lines = code.trimEnd().split('\n');
  const all = file.split('\n');
  return all.some((_, start) => {
    const indent = all[start]!.length - lines[0]!.length;
    const prefix = ' '.repeat(Math.max(indent, 0));
    return lines.every((line, index) => all[start + index] === (line === '' ? '' : prefix + line));
  });
}

test('every page is in the table of contents', () => {
  const contents = linksOf(parse(read('docs/README.md')).prose);
  const listed = new Set(contents.map((link) => `docs/${link.split('#')[0]}`));
  expect(pages.filter((page) => page.startsWith('docs/') && !listed.has(page))).toEqual(['docs/README.md']);
  expect(linksOf(parse(read('README.md')).prose)).toContain('docs/README.md');
});

describe('the checks themselves', () => {
  test('know the anchors of headings', () => {
    const headings = ['# `batch.jobs(block, options?)`', '## What is *new*: a_b', '## Same', '## Same'];
    expect([...anchorsOf(headings.join('\n'))]).toEqual([
      'batchjobsblock-options',
      'what-is-new-a_b',
      'same',
      'same-1',
    ]);
  });

  test('find what does not exist', () => {
    expect(problemOf('docs/sql.md', '../README.md#no-such-heading')).toContain('no heading');
    expect(problemOf('docs/sql.md', 'no-such-page.md')).toContain('no file');
    expect(problemOf('docs/sql.md', '../../outside.md')).toContain('leaves');
    expect(problemOf('docs/sql.md', '../README.md#install')).toBeUndefined();
  });

  test('know an excerpt from what is none', () => {
    expect(isExcerpt('b();\n\nc();\n', 'a {\n  b();\n\n  c();\n}\n')).toBe(true);
    expect(isExcerpt('b();\nc();\n', 'a {\n  b();\n\n  c();\n}\n')).toBe(false);
    expect(isExcerpt('b();\n  c();\n', 'b();\nc();\n')).toBe(false);
  });
});
