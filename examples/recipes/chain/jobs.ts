// Two batches, one after the other: the callback of the first creates the second.
import { defineCallback, defineJob } from 'temporal-batch-jobs';
import { database } from '../connect.js';

export const scoreGame = defineJob('ScoreGame', async (gameId: number, region: string, goals: number) => {
  await database('scores')
    .insert({ game_id: gameId, region, points: goals * 3 })
    .onConflict('game_id')
    .merge();
});

export const rankRegion = defineJob('RankRegion', async (region: string) => {
  const best = await database('scores').where({ region }).orderBy('points', 'desc').first('game_id');
  await database('winners').insert({ region, game_id: best.game_id }).onConflict('region').merge();
});

export const startRanking = defineCallback('StartRanking', async (batchId, { batches }) => {
  // A callback may run again. The id makes it the same batch, and the keys make them the same jobs.
  const ranking = await batches.create({
    id: `${batchId}:ranking`,
    description: 'Rank the regions',
    callbacks: { complete: publishWinners },
  });
  const regions: string[] = await database('scores').distinct('region').pluck('region');
  await ranking.jobs(
    async () => {
      for (const region of regions) await rankRegion.set({ key: region }).performAsync(region);
    },
    { once: true },
  );
});

export const publishWinners = defineCallback(
  'PublishWinners',
  async (batchId, { trx }) => {
    const [counted] = await trx('winners').count<{ count: string }[]>('*');
    await trx('publications').insert({ batch_id: batchId, winners: Number(counted!.count) });
  },
  { transaction: true },
);
