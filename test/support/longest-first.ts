import { readFileSync } from 'node:fs';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Seconds that each file took, in a run of each command. Files without an entry take a few seconds. */
const SECONDS = JSON.parse(readFileSync(new URL('seconds.json', import.meta.url), 'utf8')) as Record<
  'bin/test' | 'bin/test --slow',
  Record<string, number>
>;

function secondsOf({ moduleId, project }: TestSpecification): number {
  const seconds = SECONDS[project.name === 'slow' ? 'bin/test --slow' : 'bin/test'];
  return Object.entries(seconds).find(([file]) => moduleId.endsWith(file))?.[1] ?? 0;
}

/** Starts the longest files first, so that none of them runs alone at the end. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((a, b) => secondsOf(b) - secondsOf(a));
  }
}
