// Makes sure that the programs of the development servers are there, so that tests do not wait for a build.
import { execa } from 'execa';
import { environmentValue } from '../src/dev/options.ts';
import { findPostgresBinaries, platformPackage, problemRunning } from '../src/dev/postgres-binaries.ts';
import { findTemporalBinary } from '../src/dev/temporal-binary.ts';

const { env } = process;
const log = (line: string): void => console.log(line);

if (environmentValue(env, 'DATABASE_URL') === undefined) {
  const { postgres } = await findPostgresBinaries();
  if ((await problemRunning(postgres)) !== undefined) {
    // The package links its libraries in an install script, which npm may have been told to skip.
    log('Running the install script of the Postgres package.');
    await execa('npm', ['rebuild', '--foreground-scripts', platformPackage()], { stdio: 'inherit' });
    const problem = await problemRunning(postgres);
    if (problem !== undefined) throw new Error(`Postgres does not run: ${problem}`);
  }
}

if (environmentValue(env, 'TEMPORAL_ADDRESS') === undefined) {
  const temporal = await findTemporalBinary({ env, log });
  log(`Temporal: ${temporal}`);
}
