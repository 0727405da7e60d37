import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** Packages that are loaded with a module, by the imports that are not only of types. */
function packagesOf(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return new Set();
  seen.add(file);
  const packages = new Set<string>();
  const imports = readFileSync(file, 'utf8').matchAll(/^(?:import|export) (?!type )[^;]*?from '([^']+)';/gms);
  for (const [, name] of imports) {
    if (!name!.startsWith('.')) packages.add(name!);
    else {
      const next = path.join(path.dirname(file), name!);
      expect(existsSync(next), next).toBe(true);
      for (const found of packagesOf(next, seen)) packages.add(found);
    }
  }
  return packages;
}

test('the help of the program loads no client, no database driver and no server', () => {
  expect([...packagesOf(MAIN)].filter((name) => !name.startsWith('node:'))).toEqual(['commander']);
});
