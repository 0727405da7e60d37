import { readFileSync } from 'node:fs';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Seconds that files took in a run of `bin/test`, by the path of each. Files without an entry take a few. */
const SECONDS = JSON.parse(readFileSync(new URL('seconds.json', import.meta.url), 'utf8')) as Record<
  string,
  number
>;

const secondsOf = ({ moduleId }: TestSpecification) =>
  Object.entries(SECONDS).find(([file]) => moduleId.endsWith(file))?.[1] ?? 0;

/** Starts the longest files first, so that none of them runs alone at the end. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return files.toSorted((a, b) => secondsOf(b) - secondsOf(a));
  }
}
