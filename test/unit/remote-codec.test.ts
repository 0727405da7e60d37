import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { defaultPayloadConverter } from '@temporalio/common';
import { expect, test } from 'vitest';
import { remoteCodec } from '../../src/cli/remote-codec.ts';
import { ENCODING, startCodecServer } from '../support/codec.ts';

const payload = defaultPayloadConverter.toPayload({ text: 'ünïcode', list: [1, null] });
const open = (endpoint: string, auth?: string) => remoteCodec({ endpoint, auth, namespace: 'name space' });

/** A server that answers everything with this. */
async function startServer(status: number, body: string) {
  const server = createServer((_request, response) => response.writeHead(status).end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

test('encodes and decodes by the server, with the header, the namespace and JSON', async () => {
  await using server = await startCodecServer('Bearer key');
  const codec = open(server.endpoint, 'Bearer key');
  const encoded = await codec.encode([payload, payload]);
  expect(encoded.map(({ metadata }) => Buffer.from(metadata!['encoding']!).toString())).toEqual([
    ENCODING,
    ENCODING,
  ]);
  const decoded = await codec.decode(encoded);
  expect(decoded.map((one) => defaultPayloadConverter.fromPayload(one))).toEqual([
    { text: 'ünïcode', list: [1, null] },
    { text: 'ünïcode', list: [1, null] },
  ]);
  expect(server.requests).toMatchObject([
    {
      path: '/encode',
      headers: {
        authorization: 'Bearer key',
        'content-type': 'application/json',
        'x-namespace': 'name space',
      },
    },
    { path: '/decode' },
  ]);
});

test('asks nothing for no payloads', async () => {
  await using server = await startCodecServer();
  expect(await open(server.endpoint).encode([])).toEqual([]);
  expect(server.requests).toEqual([]);
});

test('puts the namespace where the endpoint has a place for it, and takes a slash at its end', async () => {
  await using server = await startCodecServer();
  await open(`${server.endpoint}/{namespace}/`).encode([payload]);
  expect(server.requests).toMatchObject([{ path: '/name%20space/encode' }]);
  expect(server.requests[0]!.headers).not.toHaveProperty('authorization');
});

test('names endpoint, status and answer of a server that refuses, and never the header', async () => {
  await using server = await startCodecServer('right');
  const error = await open(server.endpoint, 'wrong-key')
    .decode([payload])
    .catch((thrown: Error) => thrown);
  expect(error).toMatchObject({
    code: 'CODEC_UNAVAILABLE',
    message: `The codec server at ${server.endpoint}/decode answered 403 Forbidden: who are you?. Check --codec-auth and TEMPORAL_CODEC_AUTH.`,
  });
  await using broken = await startServer(500, 'no\n  key');
  await expect(open(broken.endpoint).encode([payload])).rejects.toMatchObject({
    code: 'CODEC_UNAVAILABLE',
    message: expect.stringContaining('/encode answered 500 Internal Server Error: no key.'),
  });
});

test.each(['<html>', '{}', '{"payloads":[]}', 'null', '{"payloads":[1,2]}'])(
  'says of an answer that is none, such as %s, that it is none',
  async (body) => {
    await using server = await startServer(200, body);
    await expect(open(server.endpoint).encode([payload])).rejects.toMatchObject({
      code: 'CODEC_UNAVAILABLE',
      message: expect.stringContaining('answered with no JSON of 1 payloads'),
    });
  },
);

test('names the endpoint of a server that is away', async () => {
  const server = await startServer(200, '');
  await server[Symbol.asyncDispose]();
  await expect(open(server.endpoint).encode([payload])).rejects.toMatchObject({
    code: 'CODEC_UNAVAILABLE',
    message: expect.stringMatching(
      new RegExp(
        `^The codec server at ${server.endpoint}/encode does not answer: .*ECONNREFUSED.*--codec-endpoint`,
      ),
    ),
  });
});

test.each([
  'codec.example.com',
  'ftp://codec',
  '',
  'http://',
  'https://user:Qq@codec',
  'https://user:Qq/Zz@codec',
])('takes no %j as endpoint, and shows no password', (endpoint) => {
  let message = '';
  try {
    open(endpoint);
  } catch (error) {
    message = (error as Error).message;
    expect(error).toMatchObject({ code: 'INVALID_OPTION', option: 'codecEndpoint' });
  }
  expect(message).toContain('an http or https URL');
  expect(message).not.toMatch(/Qq|Zz/);
});
