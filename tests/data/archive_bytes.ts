/** Archives made by hand, as libraries refuse to make bad ones. */
import { crc32, deflateRawSync } from 'node:zlib';

export interface ZipEntry {
  name: string;
  content: Buffer;
  /** The size that the index states. */
  claimed?: number;
  /** On Unix. */
  mode?: number;
}

export function zipOf(entries: readonly ZipEntry[]): Buffer {
  const parts: Buffer[] = [];
  const index: Buffer[] = [];
  let offset = 0;
  for (const { name, content, claimed = content.length, mode = 0 } of entries) {
    const data = deflateRawSync(content);
    const sizes = Buffer.alloc(16);
    sizes.writeUInt32LE(crc32(content), 0);
    sizes.writeUInt32LE(data.length, 4);
    sizes.writeUInt32LE(claimed, 8);
    sizes.writeUInt16LE(Buffer.byteLength(name), 12);
    const local = Buffer.from([0x50, 0x4b, 3, 4, 20, 0, 0, 8, 8, 0, 0, 0, 0, 0]);
    const entry = Buffer.concat([local, sizes, Buffer.from(name), data]);
    const central = Buffer.from([0x50, 0x4b, 1, 2, 20, 3, 20, 0, 0, 8, 8, 0, 0, 0, 0, 0]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(mode * 2 ** 16, 6);
    rest.writeUInt32LE(offset, 10);
    index.push(Buffer.concat([central, sizes, rest, Buffer.from(name)]));
    parts.push(entry);
    offset += entry.length;
  }
  const directory = Buffer.concat(index);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, directory, end]);
}

const BLOCK_BYTES = 512;

/** A member of a tar archive as it lies there; `size` is what the header says where that is not the truth. */
export function tarMember(name: string, content: string | Buffer, type = '0', size?: number): Buffer {
  const bytes = Buffer.from(content as string);
  const header = Buffer.alloc(BLOCK_BYTES);
  header.write(name, 0);
  header.write('0000644\0', 100);
  header.write(`${(size ?? bytes.length).toString(8).padStart(11, '0')}\0`, 124);
  header.write('00000000000\0', 136);
  header.write(type, 156);
  header.write('ustar\x0000', 257);
  const padding = Buffer.alloc((BLOCK_BYTES - (bytes.length % BLOCK_BYTES)) % BLOCK_BYTES);
  return withChecksums(Buffer.concat([header, bytes, padding]));
}

/** A record of an extended header. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length += 1;
  return `${length}${rest}`;
}

export function tarOf(...members: Buffer[]): Buffer {
  return Buffer.concat([...members, Buffer.alloc(2 * BLOCK_BYTES)]);
}

/** A tar archive in which the checksum of everything that looks like a header is right. */
export function withChecksums(bytes: Buffer): Buffer {
  const out = Buffer.from(bytes);
  for (let at = 0; at + BLOCK_BYTES <= out.length; at += BLOCK_BYTES) {
    const header = out.subarray(at, at + BLOCK_BYTES);
    if (header.toString('latin1', 257, 262) !== 'ustar') continue;
    header.write('        ', 148);
    const sum = header.reduce((a, b) => a + b, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  }
  return out;
}
