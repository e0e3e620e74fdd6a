/**
 * The safetensors format: 8 bytes of header length (little-endian), a JSON header, raw values. A file may come
 * from anywhere, so that nothing in its header is believed before it was checked, and nothing is allocated by a
 * number that it states. Tensor data never passes through JavaScript: the addon reads and writes it.
 */
import { open } from 'node:fs/promises';
import { AnnealError } from '../../proto/errors.ts';
import { asFileError } from '../util/files.ts';

/** The format's own limit; a longer header is an attack or damage. */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of one value. */
const DTYPE_BYTES: ReadonlyMap<string, number> = new Map([
  ['BOOL', 1],
  ['U8', 1],
  ['I8', 1],
  ['F8_E4M3', 1],
  ['F8_E5M2', 1],
  ['I16', 2],
  ['U16', 2],
  ['F16', 2],
  ['BF16', 2],
  ['I32', 4],
  ['U32', 4],
  ['F32', 4],
  ['I64', 8],
  ['U64', 8],
  ['F64', 8],
]);

/** A tensor of a file, checked against the file's size. */
export interface TensorEntry {
  name: string;
  dtype: string;
  shape: number[];
  /** Of the first value, from the start of the file. */
  offset: number;
  bytes: number;
}

/** The tensors of a file; throws `model_invalid` with what is wrong with its header. */
export async function readSafetensorsHeader(path: string): Promise<TensorEntry[]> {
  return (await readSafetensors(path)).entries;
}

/** The tensors of a file and the texts that it carries beside them. */
export async function readSafetensors(
  path: string,
): Promise<{ entries: TensorEntry[]; metadata: Readonly<Record<string, unknown>> }> {
  const { text, dataStart, dataBytes } = await readHeaderText(path);
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw invalid(path, `its header is not JSON (${(cause as Error).message})`);
  }
  if (!isRecord(header)) throw invalid(path, 'its header is not a JSON object');
  const entries: TensorEntry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    entries.push(checkEntry(path, name, value, dataStart, dataBytes));
  }
  checkLayout(path, entries, dataStart, dataBytes);
  const metadata = header.__metadata__;
  return { entries, metadata: isRecord(metadata) ? metadata : {} };
}

/** Whether two tensors of a file are the same in type, shape and every byte. */
export async function sameContent(path: string, a: TensorEntry, b: TensorEntry): Promise<boolean> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false;
  const step = 1 << 20;
  const handle = await open(path, 'r');
  try {
    const [left, right] = [Buffer.alloc(step), Buffer.alloc(step)];
    for (let at = 0; at < a.bytes; at += step) {
      const length = Math.min(step, a.bytes - at);
      await handle.read(left, 0, length, a.offset + at);
      await handle.read(right, 0, length, b.offset + at);
      if (left.compare(right, 0, length, 0, length) !== 0) return false;
    }
    return true;
  } catch (error) {
    throw asFileError(error, path);
  } finally {
    await handle.close();
  }
}

async function readHeaderText(path: string): Promise<{ text: string; dataStart: number; dataBytes: number }> {
  let handle: Awaited<ReturnType<typeof open>> | undefined;
  try {
    handle = await open(path, 'r');
    const { size } = await handle.stat();
    const prefix = Buffer.alloc(8);
    if (size < 8 || (await handle.read(prefix, 0, 8, 0)).bytesRead < 8) {
      throw invalid(path, `it has ${size} bytes, too few for a header`);
    }
    const length = prefix.readBigUInt64LE(0);
    if (length > BigInt(MAX_HEADER_BYTES)) {
      throw invalid(path, `its header claims ${length} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
    }
    if (length > BigInt(size - 8)) {
      throw invalid(
        path,
        `its header claims ${length} bytes, but the file has ${size}; it is truncated or not safetensors`,
      );
    }
    const bytes = Buffer.alloc(Number(length));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 8);
    if (bytesRead < bytes.length) throw invalid(path, 'its header is truncated');
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return { text, dataStart: 8 + bytes.length, dataBytes: size - 8 - bytes.length };
  } catch (error) {
    if (error instanceof TypeError) throw invalid(path, 'its header is not UTF-8');
    throw asFileError(error, path);
  } finally {
    await handle?.close();
  }
}

function checkEntry(
  path: string,
  name: string,
  value: unknown,
  dataStart: number,
  dataBytes: number,
): TensorEntry {
  const fail = (what: string) => invalid(path, `tensor ${JSON.stringify(name.slice(0, 200))} ${what}`);
  if (!isRecord(value)) throw fail('is not described by an object');
  const { dtype, shape, data_offsets: offsets } = value;
  const width = typeof dtype === 'string' ? DTYPE_BYTES.get(dtype) : undefined;
  if (typeof dtype !== 'string' || width === undefined)
    throw fail(`has an unknown dtype ${JSON.stringify(dtype)}`);
  if (!Array.isArray(shape) || shape.length > 8 || !shape.every(isSize)) {
    throw fail('has a shape that is not a list of up to 8 sizes');
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw fail('has no data_offsets of two numbers');
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataBytes) {
    throw fail(
      `lies at bytes ${begin} to ${end} of ${dataBytes}; the file is truncated or its header is wrong`,
    );
  }
  let bytes = width;
  for (const size of shape as number[]) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) throw fail('is larger than any file');
  }
  if (bytes !== end - begin) {
    throw fail(`needs ${bytes} bytes for shape [${shape.join(', ')}] of ${dtype}, but has ${end - begin}`);
  }
  return { name, dtype, shape: shape as number[], offset: dataStart + begin, bytes };
}

/** The values must fill the file without gap or overlap, as the format demands. */
function checkLayout(path: string, entries: TensorEntry[], dataStart: number, dataBytes: number): void {
  const sorted = [...entries].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataStart;
  for (const entry of sorted) {
    if (entry.offset !== end) {
      const what = entry.offset < end ? 'overlaps the one before it' : 'leaves a gap before it';
      throw invalid(path, `tensor ${JSON.stringify(entry.name.slice(0, 200))} ${what}`);
    }
    end += entry.bytes;
  }
  if (end !== dataStart + dataBytes) {
    throw invalid(path, `${dataStart + dataBytes - end} bytes at its end belong to no tensor`);
  }
}

/** The bytes before the values of a file that holds these float32 tensors in this order. */
export function makeSafetensorsHeader(
  tensors: readonly { name: string; shape: readonly number[] }[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const { name, shape } of tensors) {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  // Spaces up to a multiple of 8: readers map the values as they lie.
  const padded = Math.ceil(json.length / 8) * 8;
  const out = Buffer.alloc(8 + padded, ' ');
  out.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(out, 8);
  return out;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function isSize(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function invalid(path: string, what: string): AnnealError {
  return new AnnealError('model_invalid', `${path} cannot be loaded: ${what}.`, {
    path,
    hint: 'Copy or download the file again.',
  });
}
