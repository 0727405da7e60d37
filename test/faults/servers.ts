import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection } from '@temporalio/client';
import knexFactory, { type Knex } from 'knex';
import { startDevServers, type DevServers } from '../../src/dev/index.ts';
import { OWN_SERVERS } from '../support/own-servers.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import type { AppBundles } from './app-bundles.ts';
import type { ServerName } from './plan.ts';

/** Servers of a slot, which its rounds share one after the other; with a way to them that can be cut. */
export interface Arena extends AsyncDisposable {
  readonly servers: DevServers;
  /** What workers and enqueuers connect to. */
  readonly proxies: Readonly<Record<ServerName, TcpProxy>>;
  /** The connection string that leads through the proxy. */
  readonly proxiedDatabaseUrl: string;
  readonly workflowBundlePath: string;
  readonly appBundles: AppBundles;
  /** Direct ways, for the conductor and the checker. */
  readonly client: Client;
  readonly knex: Knex;
}

/** Starts Postgres and Temporal with their data on disk, so that both survive being killed. */
export async function openArena(workflowBundlePath: string, appBundles: AppBundles): Promise<Arena> {
  const cleanup: (() => Promise<unknown>)[] = [];
  const dispose = async () => {
    for (const clean of cleanup.splice(0).toReversed()) await clean();
  };
  try {
    const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-arena-'));
    cleanup.push(() => rm(folder, { recursive: true, force: true }));
    const servers = await startDevServers({
      env: OWN_SERVERS,
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
    const direct = new URL(servers.databaseUrl);
    // Of what looks and cleans up: it writes while the database is read-only for the app.
    direct.searchParams.set('options', '-c default_transaction_read_only=off');
    const knex = knexFactory({
      client: 'pg',
      connection: direct.href,
      pool: { min: 0, max: 5 },
      log: { error: () => {}, warn: () => {} },
    });
    cleanup.push(() => knex.destroy());
    return {
      servers,
      proxies: { temporal, postgres },
      proxiedDatabaseUrl: proxied.href,
      workflowBundlePath,
      appBundles,
      client: new Client({ connection }),
      knex,
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}
