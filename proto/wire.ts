/**
 * Messages as bytes. A request is three ZeroMQ frames, `[protocol version, request id, body]`; its reply has the
 * same three. The version is decimal ASCII, the id 1 to 64 bytes chosen by the client, the body one MessagePack
 * map. An event is two frames, `[topic, body]`. Bodies hold plain maps with string keys, arrays, strings, numbers
 * (whole ones as MessagePack integers), booleans and nil: no extension types, no binary, no undefined.
 */
// Not the package's main entry: that one loads a native addon and streams, which costs a client milliseconds.
import { Packr } from 'msgpackr/pack';
import type { ErrorBody } from './errors.ts';
import { AnnealError } from './errors.ts';
import { PROTOCOL_VERSION } from './version.ts';

/** Largest message that the daemon reads; libzmq closes the connection of a peer that announces a larger one. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
export const MAX_REQUEST_ID_BYTES = 64;

/** Deepest nesting of a body; what is deeper is nobody's request. */
const MAX_DEPTH = 32;

const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  encodeUndefinedAsNil: true,
  int64AsType: 'number',
  useBigIntExtension: false,
});

/** A body as MessagePack. Fields that are undefined are left out; integers beyond 32 bits stay integers. */
export function encodeBody(body: Record<string, unknown>): Buffer {
  return packr.pack(plain(body));
}

/** A MessagePack map as an object, or a `bad_frame` error. */
export function decodeBody(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = packr.unpack(bytes);
  } catch (error) {
    throw new AnnealError('bad_frame', 'The body is not valid MessagePack.', {
      hint: 'Send one MessagePack map as the third frame.',
      cause: error,
    });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !isPlain(value, MAX_DEPTH)) {
    throw new AnnealError('bad_frame', 'The body is not a plain MessagePack map with string keys.', {
      hint: 'Use maps, arrays, strings, numbers, booleans and nil only.',
    });
  }
  return value as Record<string, unknown>;
}

/** Frames of a request. */
export function encodeRequest(requestId: string, body: Record<string, unknown>): Buffer[] {
  return [Buffer.from(String(PROTOCOL_VERSION)), Buffer.from(requestId), encodeBody(body)];
}

/** Frames of a reply that went well. */
export function encodeReply(requestId: Uint8Array, reply: Record<string, unknown>): Buffer[] {
  return frames(requestId, { ok: true, ...reply });
}

/** Frames of an error. */
export function encodeError(requestId: Uint8Array, error: ErrorBody): Buffer[] {
  return frames(requestId, { ok: false, error });
}

function frames(requestId: Uint8Array, body: Record<string, unknown>): Buffer[] {
  return [Buffer.from(String(PROTOCOL_VERSION)), Buffer.from(requestId), encodeBody(body)];
}

/** Topic that an event is published on; subscribing to a prefix (`job.j1.`) gives all kinds. */
export function eventTopic(job: string, kind: string): string {
  return `job.${job}.${kind}`;
}

/** msgpackr writes whole numbers beyond 32 bits as floats unless they are BigInt; other readers want integers. */
function plain(value: unknown): unknown {
  if (typeof value === 'number') {
    const wide = Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000);
    return wide ? BigInt(value) : value;
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null) {
    const copy: Record<string, unknown> = {};
    for (const [key, field] of Object.entries(value)) if (field !== undefined) copy[key] = plain(field);
    return copy;
  }
  return value;
}

/** Only what the protocol allows, and nothing that JavaScript would take for more than data. */
function isPlain(value: unknown, depth: number): boolean {
  if (depth === 0) return false;
  if (value === null) return true;
  if (typeof value === 'object') {
    if (Array.isArray(value)) return value.every((item) => isPlain(item, depth - 1));
    return (
      Object.getPrototypeOf(value) === Object.prototype &&
      Object.values(value).every((field) => isPlain(field, depth - 1))
    );
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}
