// Packs the package as npm would publish it, and checks how it resolves for those who install it.
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const root = fileURLToPath(new URL('..', import.meta.url));
const run = execa({ cwd: root, preferLocal: true, localDir: root, stdio: 'inherit', reject: false });

const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-package-'));
try {
  // One after the other: their reports would mix.
  const isSound =
    succeeded(await run('npm', ['pack', '--silent', '--pack-destination', folder])) &&
    (await checkTarball(path.join(folder, (await readdir(folder))[0] ?? '')));
  if (!isSound) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

/** @param {string} tarball */
async function checkTarball(tarball) {
  const publint = await run('publint', ['run', '--strict', tarball]);
  const attw = await run('attw', [tarball, '--profile', 'esm-only']);
  return succeeded(publint) && succeeded(attw);
}

/** @param {{ failed: boolean, originalMessage?: string | undefined }} result */
function succeeded({ failed, originalMessage }) {
  if (failed && originalMessage) console.error(originalMessage);
  return !failed;
}
