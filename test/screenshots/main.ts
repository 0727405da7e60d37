import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { execa } from 'execa';
import { startDevServers } from '../../src/dev/index.ts';
import { BatchClient, migrate } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { OWN_SERVERS } from '../support/own-servers.ts';
import { Chromium } from './chromium.ts';
import { alertOps, importLine, rebuildCache, rebuildIndex, scoreEntry, sendMail } from './jobs.ts';

// Takes the pictures of docs/web-ui.md again: real servers, real batches, and what a real browser shows of them.

const FOLDER = process.env['SCREENSHOTS'] ?? fileURLToPath(new URL('../../docs/images', import.meta.url));
const WIDTH = 1_280;
const HEIGHT = 1_080;
const MINUTES = 60_000;

// First what may be missing.
await using browser = await Chromium.start({ width: WIDTH, height: HEIGHT });
await using servers = await startDevServers({ env: OWN_SERVERS });
const { databaseUrl: database, temporalAddress: address, webUiUrl } = servers;
await migrate(database);
await using connection = asDisposable(await Connection.connect({ address }));
const client = new Client({ connection: connection.value });
await using batches = asDisposable(new BatchClient({ client, database }));
await mkdir(FOLDER, { recursive: true });

let worker = await startWorker();
try {
  await takeFailed();
  await takeFinished();
  await takeRunning();
} finally {
  await worker.kill();
}

/** A batch that failed, and the history of one of its ranges, with the chunks that were retried. */
async function takeFailed(): Promise<void> {
  const batch = await batches.value.create({
    id: 'mails-2026-11-23',
    description: 'Mails of the night of 23 November',
    context: { campaign: 'autumn', segment: 'subscribers' },
  });
  await batch.on('complete', rebuildIndex);
  await batch.on('failure', alertOps);
  await batch.jobs(() => sendMail.performBulk(numbers(1_247)));
  await batch.wait({ timeout: 5 * MINUTES });
  await take('failed', await pageOf(`batch:${batch.id}`, 'user-metadata'), 'Where to look next');
}

async function takeFinished(): Promise<void> {
  const batch = await batches.value.create({
    id: 'leaderboard-7',
    description: 'Rescore leaderboard 7',
    context: { leaderboardId: 7 },
  });
  await batch.on('complete', rebuildCache);
  await batch.on('failure', alertOps);
  await batch.jobs(() => scoreEntry.performBulk(numbers(3_400)));
  await batch.wait({ timeout: 5 * MINUTES });
  await take('finished', await pageOf(`batch:${batch.id}`, 'user-metadata'), 'Where to look next');
}

/** A batch that runs; and then the history of one of its ranges, after a worker was killed. */
async function takeRunning(): Promise<void> {
  const batch = await batches.value.create({
    id: 'import-2026-11-23',
    description: 'Import of 23 November',
    context: { file: 's3://imports/2026-11-23.csv' },
    failWhenFailed: { moreThan: '5%' },
    deadline: '6 hours',
  });
  await batch.on('complete', rebuildIndex);
  await batch.on('failure', alertOps);
  await batch.jobs(() => importLine.performBulk(numbers(60_000)));
  await eventually(async () => {
    if ((await batch.progress()).complete < 4_000) throw new Error('Not far enough yet');
  }, 5 * MINUTES);
  await take('running', await pageOf(`batch:${batch.id}`, 'user-metadata'), 'Where to look next');

  await worker.kill();
  worker = await startWorker();
  const runner = `batch:${batch.id}/runner/2`;
  await eventually(async () => {
    const { events } = await client.workflow.getHandle(runner).fetchHistory();
    const isRetried = events?.some(({ userMetadata }) =>
      Buffer.from(userMetadata?.summary?.data ?? []).includes('was lost'),
    );
    if (!isRetried) throw new Error('No chunk was retried yet');
  }, 2 * MINUTES);
  await take('retried', await pageOf(runner, 'history'), 'was lost');
}

/** Path of a workflow's page. */
async function pageOf(workflowId: string, tab: 'history' | 'user-metadata'): Promise<string> {
  const { runId } = await client.workflow.getHandle(workflowId).describe();
  return `workflows/${encodeURIComponent(workflowId)}/${runId}/${tab}`;
}

/** @param text what the page has once it is complete */
async function take(name: string, page: string, text: string): Promise<void> {
  await browser.open(`${webUiUrl}/namespaces/${servers.namespace}/${page}`);
  // The Web UI shows Markdown in frames, and gives them their height once they have loaded.
  const frames = "[...document.querySelectorAll('iframe')]";
  const texts = `[document, ...${frames}.map((frame) => frame.contentDocument)].map((one) => one.body.innerText)`;
  await browser.until(
    `${frames}.every((frame) => frame.height !== '') && ${texts}.join().includes(${JSON.stringify(text)})`,
    `${name}: "${text}"`,
  );
  // Of a long page the part with the text. What is in a frame is in view.
  await browser.evaluate(
    `[...document.querySelectorAll('main *')].findLast((one) => one.textContent.includes(${JSON.stringify(text)}))` +
      "?.scrollIntoView({ block: 'center' })",
  );
  const picture = await browser.picture({ x: 0, y: 0, width: WIDTH, height: HEIGHT });
  await writeFile(path.join(FOLDER, `${name}.png`), picture);
  process.stdout.write(`${name}.png: ${Math.round(picture.length / 1024)} KiB\n`);
}

function numbers(count: number): [number][] {
  return Array.from({ length: count }, (_, index) => [index + 1]);
}

async function startWorker() {
  const child = execa('node', ['--import', 'tsx', 'test/screenshots/worker-process.ts'], {
    env: { DATABASE_URL: database, TEMPORAL_ADDRESS: address },
    reject: false,
    stdout: 'pipe',
    stderr: 'inherit',
  });
  await once(child.stdout, 'data');
  return {
    /** Kills it, and waits until it is gone. */
    async kill() {
      child.kill('SIGKILL');
      await child;
    },
  };
}

function asDisposable<T extends { close(): Promise<void> }>(value: T) {
  return { value, [Symbol.asyncDispose]: () => value.close() };
}
