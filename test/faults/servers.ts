import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import knexFactory, { type Knex } from 'knex';
import { startDevServers, type DevServers } from '../../src/dev/index.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import type { ServerName } from './plan.ts';

/** Servers of a slot, which its rounds share one after the other; with a way to them that can be cut. */
export interface Arena extends AsyncDisposable {
  readonly servers: DevServers;
  /** What workers and enqueuers connect to. */
  readonly proxies: Readonly<Record<ServerName, TcpProxy>>;
  /** The connection string that leads through the proxy. */
  readonly proxiedDatabaseUrl: string;
  readonly workflowBundlePath: string;
  /** Direct ways, for the conductor and the checker. */
  readonly client: Client;
  readonly knex: Knex;
}

/** Bundles the workflows once for all slots. @returns the file */
export async function bundleWorkflows(folder: string): Promise<string> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('../../workflows', import.meta.url)),
    logger: new DefaultLogger('ERROR'),
  });
  const file = path.join(folder, 'workflows.js');
  await writeFile(file, code);
  return file;
}

/** Starts Postgres and Temporal with their data on disk, so that both survive being killed. */
export async function openArena(workflowBundlePath: string): Promise<Arena> {
  const cleanup: (() => Promise<unknown>)[] = [];
  const dispose = async () => {
    for (const clean of cleanup.splice(0).toReversed()) await clean();
  };
  try {
    const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-arena-'));
    cleanup.push(() => rm(folder, { recursive: true, force: true }));
    const servers = await startDevServers({
      // Not the developer's own servers: these are killed.
      env: withoutServers(process.env),
      // What was committed is there after a SIGKILL: rows are counted afterwards.
      postgres: { settings: { synchronous_commit: 'on' } },
      temporal: { dbFilename: path.join(folder, 'temporal.db') },
    });
    cleanup.push(() => servers.stop());
    const proxied = new URL(servers.databaseUrl);
    const postgres = await TcpProxy.open(proxied.host);
    cleanup.push(() => postgres.close());
    const temporal = await TcpProxy.open(servers.temporalAddress);
    cleanup.push(() => temporal.close());
    proxied.host = postgres.address;
    const connection = Connection.lazy({ address: servers.temporalAddress });
    cleanup.push(() => connection.close());
    const knex = knexFactory({
      client: 'pg',
      connection: servers.databaseUrl,
      pool: { min: 0, max: 5 },
      log: { error: () => {}, warn: () => {} },
    });
    cleanup.push(() => knex.destroy());
    return {
      servers,
      proxies: { temporal, postgres },
      proxiedDatabaseUrl: proxied.href,
      workflowBundlePath,
      client: new Client({ connection }),
      knex,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function withoutServers(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = Object.entries(env).filter(([name]) => name !== 'DATABASE_URL' && name !== 'TEMPORAL_ADDRESS');
  return Object.fromEntries(own);
}
