import { describe, expect, it } from 'vitest';
import { AnnealError } from '../../proto/errors.ts';
import { PROTOCOL_VERSION } from '../../proto/version.ts';
import { decodeBody, encodeBody, encodeError, encodeReply, encodeRequest } from '../../proto/wire.ts';

function codeOf(bytes: Uint8Array): string {
  try {
    decodeBody(bytes);
    return 'accepted';
  } catch (error) {
    return error instanceof AnnealError ? error.code : `untyped: ${error}`;
  }
}

/** Bytes of a seeded generator, so that a failure can be repeated. */
function noise(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

describe('bodies', () => {
  it('come back as they were', () => {
    const body = {
      text: 'é 漢 🙂 \u0000',
      list: [1, -1, 0, 64, 2 ** 32, -(2 ** 40), 2 ** 53 - 1, 0.5, Number.NaN, Number.POSITIVE_INFINITY],
      nested: { yes: true, no: false, nil: null, empty: {}, none: [] },
    };
    expect(decodeBody(encodeBody(body))).toEqual(body);
  });

  it('hold whole numbers as MessagePack integers, whatever their size', () => {
    // fixmap of 1 pair, fixstr "n", then the type byte of the number.
    const type = (n: number) => encodeBody({ n }).subarray(-9)[0];
    expect(type(5_000_000_000)).toBe(0xd3);
    expect(type(-5_000_000_000)).toBe(0xd3);
    expect(encodeBody({ n: 7 }).at(-1)).toBe(7);
  });

  it('leave undefined fields out', () => {
    expect(encodeBody({ a: 1, b: undefined })).toEqual(encodeBody({ a: 1 }));
  });

  it.each([
    ['empty', ''],
    ['not a map: a list', '90'],
    ['not a map: a number', '07'],
    ['not a map: nil', 'c0'],
    ['half a map', '82a161'],
    ['more after the map', '8080'],
    ['a map that announces 4 billion pairs', 'dfffffffff'],
    ['a list that announces 4 billion items', '81a161ddffffffff'],
    ['binary', '81a161c403010203'],
    ['a timestamp', '81a161d6ff00000000'],
    ['an extension', '81a161c7057401020304ff'],
    ['a byte that MessagePack never uses', 'c1'],
    ['maps nested 100,000 deep', `${'81a161'.repeat(100_000)}c0`],
    ['maps nested 40 deep', `${'81a161'.repeat(40)}c0`],
  ])('that are %s are refused', (_what, hex) => {
    expect(codeOf(Buffer.from(hex, 'hex'))).toBe('bad_frame');
  });

  it('cannot reach the prototype', () => {
    const body = decodeBody(Buffer.from(`81a9${Buffer.from('__proto__').toString('hex')}81a16101`, 'hex'));
    expect(Object.getPrototypeOf(body)).toBe(Object.prototype);
    expect((body as { a?: unknown }).a).toBeUndefined();
  });

  it('of noise give a typed error or a plain map, and leave no trace in the decoder', () => {
    const good = { n: 64, m: 65, text: 'after' };
    for (let seed = 0; seed < 20_000; seed++) {
      const outcome = codeOf(noise(seed, seed % 97));
      expect(['accepted', 'bad_frame']).toContain(outcome);
    }
    const body = encodeBody(good);
    for (let cut = 0; cut < body.length; cut++) expect(codeOf(body.subarray(0, cut))).toBe('bad_frame');
    expect(decodeBody(body)).toEqual(good);
  });
});

describe('messages', () => {
  it('have three frames', () => {
    const [version, id, body] = encodeRequest('r1', { command: 'status' });
    expect([version!.toString(), id!.toString()]).toEqual([String(PROTOCOL_VERSION), 'r1']);
    expect(decodeBody(body!)).toEqual({ command: 'status' });
    expect(decodeBody(encodeReply(Buffer.from('r1'), { jobs: [] })[2]!)).toEqual({ ok: true, jobs: [] });
    const error = new AnnealError('job_not_found', 'no', { hint: 'yes' }).toBody();
    expect(decodeBody(encodeError(Buffer.from('r1'), error)[2]!)).toEqual({ ok: false, error });
  });
});
