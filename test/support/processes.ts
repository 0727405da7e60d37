import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

/** The folder of these sources, which is that of the compiled ones in compiled code. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const COMPILED = path.join(ROOT, '.cache', 'processes');

/** Compiles scripts that tests start as processes. To compile each anew with tsx takes a second of each process. */
export async function compileProcesses(): Promise<void> {
  await mkdir(COMPILED, { recursive: true });
  await execa('tsc', ['-p', 'tsconfig.processes.json'], { cwd: ROOT, preferLocal: true });
  // Examples import the package by its name: Node finds it in the nearest package.json.
  const { name, type, exports } = JSON.parse(await readFile(path.join(ROOT, 'package.json'), 'utf8'));
  const compiled = JSON.stringify({ name, type, exports }).replaceAll('./dist/', './');
  await writeFile(path.join(COMPILED, 'package.json'), compiled);
}

/** Runs code in a process of its own. It imports the project's files compiled, such as './src/index.js'. */
export function runCode(code: string, options: { env: Record<string, string> }) {
  return execa('node', ['--input-type=module', '--eval', code], { cwd: COMPILED, reject: false, ...options });
}

/** The compiled file of a script. @param script from the root of the project, with the extension .ts */
export function compiledScript(script: string): string {
  const isCompiled = import.meta.url.endsWith('.js');
  return path.join(isCompiled ? ROOT : COMPILED, script.replace(/\.ts$/, '.js'));
}
