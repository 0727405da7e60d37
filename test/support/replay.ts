import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { temporal } from '@temporalio/proto';
import { Worker } from '@temporalio/worker';

export type RecordedHistory = temporal.api.history.v1.IHistory;
export const { History } = temporal.api.history.v1;

/**
 * Histories of released workflow code, one folder a scenario, one file a run, as gzipped protobuf. (The SDK's own JSON
 * form needs one copy of protobufjs in the tree, which npm does not grant.)
 */
export const HISTORIES = fileURLToPath(new URL('../replay/histories', import.meta.url));

/** The files of recorded histories. */
export async function recordedHistories(): Promise<string[]> {
  const files = await readdir(HISTORIES, { recursive: true });
  return files.filter((file) => file.endsWith('.gz'));
}

export async function loadHistory(file: string): Promise<RecordedHistory> {
  return History.decode(await promisify(gunzip)(await readFile(path.join(HISTORIES, file))));
}

/** Replays recorded histories, several at once on one worker. @returns the files that differ, with why */
export async function replayAll(files: readonly string[], code: string): Promise<string[]> {
  async function* histories() {
    for (const file of files) {
      const history = await loadHistory(file);
      yield { workflowId: workflowIdOf(history), history };
    }
  }
  const differing: string[] = [];
  let replayed = 0;
  for await (const { error } of Worker.runReplayHistories({ workflowBundle: { code } }, histories())) {
    if (error) differing.push(`${files[replayed]}: ${error.message}`);
    replayed++;
  }
  if (replayed < files.length)
    throw new Error(`Only ${replayed} of ${files.length} histories were replayed.`);
  return differing;
}

/** Replays a history with a bundle of workflows. @throws DeterminismViolationError where they differ */
export async function replay(history: RecordedHistory, code: string): Promise<void> {
  await Worker.runReplayHistory({ workflowBundle: { code } }, history, workflowIdOf(history));
}

/** The ids of children are made from it. */
function workflowIdOf(history: RecordedHistory): string {
  return history.events![0]!.workflowExecutionStartedEventAttributes!.workflowId!;
}
