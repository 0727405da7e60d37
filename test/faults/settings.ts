import path from 'node:path';
import type { PayloadCodec } from '@temporalio/common';
import { dataConverter } from '../support/codec.ts';
import type { BatchPlan } from './plan-batch.ts';
import type { RoundPlan } from './plan.ts';

/** Options of Temporal's clients and workers. */
export function codecOptions({ hasCodec }: Pick<RoundSettings, 'hasCodec'>): {
  dataConverter?: { payloadCodecs: PayloadCodec[] };
} {
  return hasCodec ? { dataConverter } : {};
}

/** Where a round's processes find what they share. */
export interface RoundSettings {
  /** Folder with the ledger and the logs. */
  readonly folder: string;
  readonly databaseUrl: string;
  readonly temporalAddress: string;
  readonly schema: string;
  readonly taskQueue: string;
  readonly workflowBundlePath: string;
  /** Of the arguments of each job. */
  readonly argsBytes: number;
  /** Whether clients and workers have a payload codec. */
  readonly hasCodec: boolean;
}

export interface WorkerSettings extends RoundSettings {
  readonly maxConcurrentJobs: number;
  readonly hasSecondQueue: boolean;
  /** How it runs the app's workflows; null: it does not. */
  readonly app: { readonly bundlePath: string; readonly reports: boolean } | null;
}

export interface EnqueuerSettings extends RoundSettings {
  readonly plan: BatchPlan;
  /** The process before this one was killed. */
  readonly isResuming: boolean;
}

export function ledgerFile(folder: string): string {
  return path.join(folder, 'ledger.jsonl');
}

export function secondQueue(taskQueue: string): string {
  return `${taskQueue}-second`;
}

export function hasSecondQueue(plan: RoundPlan): boolean {
  return plan.batches.some(({ share }) => share.second > 0);
}

/** Of the workflows that are jobs of a batch. */
export function appQueueOf(batchId: string): string {
  return appQueue(batchId.slice(0, batchId.lastIndexOf('-')));
}

export function appQueue(taskQueue: string): string {
  return `${taskQueue}-app`;
}

/** Id of the workflow that is a job of this name. */
export function workflowIdOf(batchId: string, name: string): string {
  return `${batchId}/${name}`;
}

export function hasWorkflows(plan: RoundPlan): boolean {
  return plan.batches.some(({ workflows }) => workflows.length > 0);
}

/** A batch's id: of this round, and of no other on the same servers. */
export function batchIdOf(schema: string, plan: Pick<BatchPlan, 'index'>): string {
  return `${schema}-${plan.index}`;
}

const VARIABLE = 'FAULTS_SETTINGS';

/** Settings for a process's environment. */
export function toEnvironment(settings: RoundSettings): Record<string, string> {
  return { [VARIABLE]: JSON.stringify(settings) };
}

/** The settings that this process was started with. */
export function fromEnvironment(): unknown {
  return JSON.parse(process.env[VARIABLE]!);
}

/** Name of the limit that batches of a round share. */
export const SHARED_LIMIT = 'shared';
