import { expect, test } from 'vitest';
import { PATIENCE } from '../support/patience.ts';
import { createWorld } from '../support/world.ts';

test('a worker with a small heap survives a backlog of arguments that are several times as large', async () => {
  await using world = await createWorld();
  const creator = await world.startWorker();
  const batch = await world.batches.create({ description: 'A backlog' });
  await batch.pause();
  const text = 'x'.repeat(48 * 1024);
  await batch.jobs(async () => {
    for (let i = 0; i < 8_000; i++) await world.fixtures.jobs.noop.performAsync({ i, text });
  });
  await creator.stop();
  const worker = await world.spawnWorker({ nodeFlags: ['--max-old-space-size=128'] });
  let exit: number | undefined | null = null;
  void worker.exited.then((code) => (exit = code));
  await batch.resume();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ complete: 8_000 });
  expect(exit).toBeNull();
  const { rows } = await world.knex.raw('select max(losses) as losses from ??.batch_jobs', [world.schema]);
  expect(rows).toEqual([{ losses: 0 }]);
});
