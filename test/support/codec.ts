import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Payload, PayloadCodec } from '@temporalio/common';
import type { History } from './histories.ts';

export const ENCODING = 'binary/test';

/** Hides every byte, by a key of one. As codecs mostly do, it lets pass what it has not encoded. */
export function codecOf(key: number): PayloadCodec {
  const hidden = (payload: Payload): Payload => ({
    metadata: { encoding: Buffer.from(ENCODING) },
    data: mask(Buffer.from(JSON.stringify(toJson(payload))), key),
  });
  return {
    encode: async (payloads) => payloads.map(hidden),
    decode: async (payloads) => payloads.map((payload) => shown(payload, key)),
  };
}

const KEY = 0xa5;
export const codec = codecOf(KEY);
export const dataConverter = { payloadCodecs: [codec] };

function mask(bytes: Uint8Array, key: number): Uint8Array {
  return bytes.map((byte) => byte ^ key);
}

/** The payload without the codec, if it has it. */
export function shown(payload: Payload, key = KEY): Payload {
  if (!isHidden(payload)) return payload;
  return fromJson(JSON.parse(Buffer.from(mask(payload.data ?? new Uint8Array(), key)).toString()));
}

function isHidden({ metadata }: Payload): boolean {
  return Buffer.from(metadata?.['encoding'] ?? []).toString() === ENCODING;
}

interface JsonPayload {
  readonly metadata: Record<string, string>;
  readonly data: string;
}

function toJson({ metadata, data }: Payload): JsonPayload {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  return {
    metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([key, value]) => [key, base64(value)])),
    data: base64(data ?? new Uint8Array()),
  };
}

function fromJson({ metadata, data }: JsonPayload): Payload {
  const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));
  return {
    metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, bytes(value)])),
    data: bytes(data),
  };
}

export interface CodecServer extends AsyncDisposable {
  readonly endpoint: string;
  /** What it was asked, oldest first. */
  readonly requests: { readonly path: string; readonly headers: IncomingHttpHeaders }[];
}

/** A codec server over HTTP with the codec above, for whoever has the right header. */
export async function startCodecServer(authorization?: string): Promise<CodecServer> {
  const requests: { path: string; headers: IncomingHttpHeaders }[] = [];
  const server = createServer((request, response) => {
    const { method, url = '', headers } = request;
    requests.push({ path: url, headers });
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => void answer());
    const answer = async () => {
      const action = /\/(encode|decode)$/.exec(url)?.[1] as 'encode' | 'decode' | undefined;
      if (method !== 'POST' || !action) return void response.writeHead(404).end('no such path');
      if (headers.authorization !== authorization) return void response.writeHead(403).end('who are you?');
      const { payloads } = JSON.parse(Buffer.concat(chunks).toString()) as { payloads: JsonPayload[] };
      const coded = await codec[action](payloads.map(fromJson));
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ payloads: coded.map(toJson) }));
    };
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** A payload of a history, and where it stands. */
export interface FoundPayload {
  readonly path: string;
  readonly encoding: string;
  readonly text: string;
}

/** Every payload of a history: what has an encoding. */
export function payloadsOf(history: History): FoundPayload[] {
  const found: FoundPayload[] = [];
  const walk = (value: unknown, path: string) => {
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return;
    const { metadata, data } = value as { metadata?: Record<string, Uint8Array>; data?: Uint8Array };
    if (metadata?.['encoding'] instanceof Uint8Array) {
      const text = Buffer.from(data ?? []).toString();
      found.push({ path, encoding: Buffer.from(metadata['encoding']).toString(), text });
    }
    for (const [key, part] of Object.entries(value)) walk(part, path === '' ? key : `${path}.${key}`);
  };
  for (const event of history.events ?? []) walk(event, '');
  return found;
}

/** All texts of a history, and all bytes as if they were text. */
export function rawTextOf(history: History): string {
  const texts: string[] = [];
  // Not as JSON, in which bytes are Base64.
  const walk = (value: unknown) => {
    if (typeof value === 'string') texts.push(value);
    else if (value instanceof Uint8Array) texts.push(Buffer.from(value).toString());
    else if (typeof value === 'object' && value !== null) Object.values(value).forEach(walk);
  };
  walk(history.events);
  return texts.join('\n');
}
