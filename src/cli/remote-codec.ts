import type { Payload, PayloadCodec } from '@temporalio/common';
import { reasonOf } from '../doctor/gather.ts';
import { oneLine } from '../doctor/words.ts';
import { CodecUnavailableError, InvalidOptionError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';

/** Where a codec server is. */
export interface CodecServer {
  /** `{namespace}` stands for the namespace, as for Temporal's own tools. */
  readonly endpoint: string;
  /** Value of the header `Authorization`. */
  readonly auth: string | undefined;
  readonly namespace: string;
}

/** A payload in the JSON of protocol buffers: bytes are in Base64. */
interface JsonPayload {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly data?: string;
}

/**
 * Encodes and decodes payloads by a codec server, over Temporal's protocol for these:
 * https://docs.temporal.io/codec-server.
 *
 * @throws {@link InvalidOptionError} when the endpoint is no URL
 */
export function remoteCodec({ endpoint, auth, namespace }: CodecServer): PayloadCodec {
  const url = endpoint.replaceAll('{namespace}', encodeURIComponent(namespace)).replace(/\/+$/, '');
  assertEndpoint(url);
  const headers = {
    'content-type': 'application/json',
    'x-namespace': namespace,
    ...(auth === undefined ? {} : { authorization: auth }),
  };
  const ask = async (action: 'encode' | 'decode', payloads: Payload[]): Promise<Payload[]> => {
    if (payloads.length === 0) return [];
    const to = `${url}/${action}`;
    const body = JSON.stringify({ payloads: payloads.map(toJson) });
    const answer = await post(to, headers, body);
    const coded = payloadsIn(answer);
    if (coded?.length === payloads.length) return coded;
    throw new CodecUnavailableError(
      'CODEC_UNAVAILABLE',
      `The codec server at ${to} answered with no JSON of ${payloads.length} payloads: ${oneLine(answer, 100)}. Check ` +
        '--codec-endpoint: /encode and /decode are appended to it.',
    );
  };
  return {
    encode: (payloads) => ask('encode', payloads),
    decode: (payloads) => ask('decode', payloads),
  };
}

function assertEndpoint(url: string): void {
  const expected = 'an http or https URL without a password in it, such as https://codec.example.com';
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  const isHttp = parsed?.protocol === 'http:' || parsed?.protocol === 'https:';
  if (isHttp && parsed.username === '' && parsed.password === '') return;
  // What may be a password does not get into a log.
  throw new InvalidOptionError('codecEndpoint', expected, url.replace(/\/\/.*@/s, '//***@'));
}

/** @throws {@link CodecUnavailableError} */
async function post(to: string, headers: Readonly<Record<string, string>>, body: string): Promise<string> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(to, {
      method: 'POST',
      headers,
      body,
      signal: AbortSignal.timeout(CALLS.codec),
    });
    text = await response.text();
  } catch (error) {
    throw new CodecUnavailableError(
      'CODEC_UNAVAILABLE',
      `The codec server at ${to} does not answer: ${reasonOf(error)}. Check --codec-endpoint, TEMPORAL_CODEC_ENDPOINT ` +
        'and that it runs.',
      { cause: error },
    );
  }
  if (response.ok) return text;
  const isAuth = response.status === 401 || response.status === 403;
  throw new CodecUnavailableError(
    'CODEC_UNAVAILABLE',
    `The codec server at ${to} answered ${`${response.status} ${response.statusText}`.trim()}: ${oneLine(text, 200)}. ` +
      (isAuth ? 'Check --codec-auth and TEMPORAL_CODEC_AUTH.' : 'Its log may say why.'),
  );
}

function toJson({ metadata, data }: Payload): JsonPayload {
  const entries = Object.entries(metadata ?? {}).map(([name, value]) => [name, base64(value)]);
  return { metadata: Object.fromEntries(entries), data: base64(data ?? new Uint8Array()) };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

/** @returns undefined for what is no answer of a codec server */
function payloadsIn(answer: string): Payload[] | undefined {
  try {
    const { payloads }: { payloads?: readonly JsonPayload[] } = JSON.parse(answer);
    return payloads?.map(fromJson);
  } catch {
    return undefined;
  }
}

function fromJson({ metadata = {}, data = '' }: JsonPayload): Payload {
  const entries = Object.entries(metadata).map(([name, value]) => [name, Buffer.from(value, 'base64')]);
  return { metadata: Object.fromEntries(entries), data: Buffer.from(data, 'base64') };
}
