import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { expect, inject } from 'vitest';
import { eventually } from './eventually.ts';
import { compiledScript } from './processes.ts';
import type { World } from './world.ts';

/** Opens the block of a batch and enrols `count` jobs in it, named `<name>0`, `<name>1`, and so on. */
export interface EnqueuerCommand {
  readonly batchId: string;
  readonly name: string;
  readonly count: number;
  /** @default 'record' */
  readonly job?: 'record' | 'noop';
  /** Never leaves the block. */
  readonly thenHang?: boolean;
  /** Gives each job its name as its key. */
  readonly keyed?: boolean;
  /** Of its jobs. */
  readonly taskQueue?: string;
  /** Starts a workflow of the app, too, of which it never hears the answer. */
  readonly workflow?: {
    readonly workflowId: string;
    readonly workflowType: string;
    readonly taskQueue: string;
    /** Whether it hangs before the request leaves, or after it was answered. */
    readonly hangs: 'before' | 'after';
  };
  /** Takes the block over. */
  readonly resume?: boolean;
  /** As work does that may run again. */
  readonly once?: boolean;
  /** Does not wait for its starts. */
  readonly isUnawaited?: boolean;
}

export type EnqueuerEvent =
  | { readonly what: 'ready' }
  /** The body of the block runs. */
  | { readonly what: 'entered'; readonly batchId: string }
  | { readonly what: 'closed'; readonly batchId: string; readonly total: number }
  | { readonly what: 'refused'; readonly batchId: string; readonly code: string };

/** An app in a process of its own. */
export interface Enqueuer extends AsyncDisposable {
  enrol(command: EnqueuerCommand): void;
  /** What the process told of a batch so far. */
  of(batchId: string): EnqueuerEvent[];
  /** Resolves with how its call of `jobs` ended. */
  ended(batchId: string): Promise<EnqueuerEvent>;
  /** Stops and continues the whole process, as a debugger or a sleeping machine does. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  /** Kills the process by SIGKILL, and resolves once it is gone. */
  kill(): Promise<void>;
}

export async function spawnEnqueuer(world: World): Promise<Enqueuer> {
  const child = execa('node', [compiledScript('test/support/enqueuer-process.ts')], {
    env: {
      DATABASE_URL: inject('databaseUrl'),
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      SCHEMA: world.schema,
      TASK_QUEUE: world.taskQueue,
    },
    reject: false,
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const events: EnqueuerEvent[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => events.push(JSON.parse(line)));
  const kill = async () => {
    child.kill('SIGKILL');
    await child;
  };
  const of = (id: string) => events.filter((event) => 'batchId' in event && event.batchId === id);
  await eventually(() => expect(events).toContainEqual({ what: 'ready' }));
  return {
    enrol: (command) => void child.stdin.write(`${JSON.stringify(command)}\n`),
    of,
    ended: (id) =>
      eventually(() => {
        const end = of(id).find(({ what }) => what === 'closed' || what === 'refused');
        if (!end) throw new Error(`The block of batch ${id} has not ended`);
        return end;
      }),
    signal: (signal) => void child.kill(signal),
    kill,
    [Symbol.asyncDispose]: kill,
  };
}
