// Scores games, then ranks their regions, then publishes the winners.
import { withBatches } from '../connect.js';
import { scoreGame, startRanking } from './jobs.js';

const id = process.argv[2]!;

await withBatches(async (batches) => {
  const scoring = await batches.create({ id, description: 'Score the games' });
  await scoring.on('complete', startRanking);
  await scoring.jobs(async () => {
    for (let gameId = 1; gameId <= 300; gameId++) {
      await scoreGame.performAsync(gameId, ['north', 'east', 'south', 'west'][gameId % 4]!, gameId % 7);
    }
  });
  await scoring.wait(); // for its callback, too: so the ranking is there

  for (const ranking of await batches.list({ parentId: scoring.id })) {
    const { status, total } = await ranking.wait();
    console.log(`${ranking.description}: ${status}, ${total} regions`);
  }
});
