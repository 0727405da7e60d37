import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

const HOST = '127.0.0.1';

/**
 * A stretch of network that can be cut: clients connect to it in place of the server. What is sent while it is frozen
 * arrives after `thaw`; connections that are dropped end with a reset, as when a machine between them goes away.
 */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  readonly #upstreams = new Set<Socket>();
  #thawed: Promise<void> = Promise.resolve();
  #thaw: (() => void) | undefined;

  private constructor(server: Server, target: { host: string; port: number }) {
    this.#server = server;
    this.#target = target;
    server.on('connection', (socket) => void this.#accept(socket));
  }

  /** @param target `host:port` of the server behind it */
  static async open(target: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(`tcp://${target}`);
    // Half-open connections end when both sides have said so, as without a proxy.
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen(0, HOST);
    await once(server, 'listening');
    return new TcpProxy(server, { host: hostname, port: Number(port) });
  }

  /** `host:port` that clients connect to. */
  get address(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('The proxy is closed.');
    return `${HOST}:${address.port}`;
  }

  /** Ends all connections at once. @returns how many there were */
  dropAll(): number {
    const count = Math.ceil(this.#sockets.size / 2);
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return count;
  }

  /** Carries what clients send and none of the answers, until the connections are dropped. */
  holdAnswers(): void {
    for (const socket of this.#upstreams) socket.pause();
  }

  /** Lets nothing through, and takes no new connection, until `thaw`. */
  freeze(): void {
    if (this.#thaw) return;
    this.#thawed = new Promise((resolve) => (this.#thaw = resolve));
    for (const socket of this.#sockets) socket.pause();
  }

  thaw(): void {
    this.#thaw?.();
    this.#thaw = undefined;
    for (const socket of this.#sockets) socket.resume();
  }

  async close(): Promise<void> {
    this.thaw();
    this.dropAll();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(client: Socket): Promise<void> {
    client.pause();
    client.on('error', () => {});
    await this.#thawed;
    if (client.destroyed) return;
    const upstream = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    this.#upstreams.add(upstream);
    upstream.on('close', () => this.#upstreams.delete(upstream));
    this.#join(client, upstream);
    this.#join(upstream, client);
    if (this.#thaw) this.freeze();
    else client.resume();
  }

  /** Carries what one side sends to the other, at the pace of the other. */
  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.on('error', () => {});
    from.on('close', (hadError) => {
      this.#sockets.delete(from);
      if (hadError) to.resetAndDestroy();
      else to.end();
    });
    from.on('data', (data) => {
      if (to.destroyed || to.write(data)) return;
      from.pause();
      to.once('drain', () => {
        if (!this.#thaw) from.resume();
      });
    });
    from.on('end', () => void to.end());
  }
}
