/**
 * TensorBoard's event files, written by hand: TFRecords (length, payload, each under a masked CRC-32C) of `Event`
 * messages in protobuf's wire format. Layouts: tensorflow/core/lib/io/record_writer.h, core/util/event.proto,
 * core/framework/summary.proto.
 *
 * A file is a function of the run's numbers alone, so that a resumed run writes the same bytes: the wall time of an
 * event is not that of the clock but its step, in seconds after 1970. TensorBoard's axis "relative" then counts
 * steps, too.
 */

/** TensorBoard reads the files of a folder whose name has `tfevents` in it. */
export const TENSORBOARD_FILE = 'events.out.tfevents.anneal';

/** The record with which a file begins. */
export function fileHeader(): Buffer {
  return record(Buffer.concat([double(1, 0), text(3, 'brain.Event:2')]));
}

/** Metrics of a step, each under its name. */
export function scalarRecord(step: number, metrics: Readonly<Record<string, number>>): Buffer {
  const values = Object.entries(metrics).map(([tag, value]) =>
    message(1, Buffer.concat([text(1, tag), float(2, value)])),
  );
  return event(step, values);
}

/** A text of a step, for TensorBoard's plugin of that name; shown as Markdown. */
export function textRecord(step: number, tag: string, body: string): Buffer {
  const DT_STRING = 7;
  const plugin = message(1, text(1, 'text'));
  const shape = message(2, message(2, varint(1, 1)));
  const tensor = Buffer.concat([varint(1, DT_STRING), shape, text(8, body)]);
  return event(step, [message(1, Buffer.concat([text(1, tag), message(8, tensor), message(9, plugin)]))]);
}

/** A sample as Markdown: the prompt as a quotation, the text as it is. */
export function sampleText(prompt: string, answer: string): string {
  const quoted = prompt.split('\n').map((line) => `> ${line}`);
  const indented = answer.split('\n').map((line) => `    ${line}`);
  return [...quoted, '', ...indented].join('\n');
}

function event(step: number, values: Buffer[]): Buffer {
  return record(Buffer.concat([double(1, step), varint(2, step), message(5, Buffer.concat(values))]));
}

function record(payload: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(payload.length), 0);
  head.writeUInt32LE(maskedCrc(head.subarray(0, 8)), 8);
  const foot = Buffer.alloc(4);
  foot.writeUInt32LE(maskedCrc(payload), 0);
  return Buffer.concat([head, payload, foot]);
}

// Protobuf: a key is the field's number and the wire type of what follows.
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

function varint(field: number, value: number): Buffer {
  return Buffer.concat([encodeVarint(field * 8 + VARINT), encodeVarint(value)]);
}

function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([encodeVarint(field * 8 + FIXED64), bytes]);
}

function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([encodeVarint(field * 8 + FIXED32), bytes]);
}

function text(field: number, value: string): Buffer {
  return message(field, Buffer.from(value, 'utf8'));
}

function message(field: number, body: Buffer): Buffer {
  return Buffer.concat([encodeVarint(field * 8 + BYTES), encodeVarint(body.length), body]);
}

/** Seven bits a byte, the lowest first. Values are up to 2^53, so no shifts. */
function encodeVarint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return Buffer.from([...bytes, rest]);
}

/** CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), rotated and offset so that a CRC of CRCs is no trap. */
function maskedCrc(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});
