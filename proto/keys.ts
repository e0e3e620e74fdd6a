/**
 * CURVE keys as files (for `tcp://`). A key is 32 bytes, written as 40 characters of Z85 (ZeroMQ RFC 32). A key
 * pair is a file with a line `public <key>` and a line `secret <key>`; `authorized` holds one client a line,
 * `<public key> <name>`. Lines that begin with `# ` are remarks (a key may begin with #, but holds no blank).
 */
import { AnnealError } from './errors.ts';

const ALPHABET = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#';

export interface KeyPair {
  publicKey: string;
  secretKey: string;
}

export interface AuthorizedKey {
  publicKey: string;
  name: string;
}

/** Bytes as Z85; their number must be a multiple of 4. */
export function z85Encode(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 4) {
    let value = ((bytes[i]! << 24) | (bytes[i + 1]! << 16) | (bytes[i + 2]! << 8) | bytes[i + 3]!) >>> 0;
    let digits = '';
    for (let digit = 0; digit < 5; digit++) {
      digits = ALPHABET[value % 85]! + digits;
      value = Math.floor(value / 85);
    }
    text += digits;
  }
  return text;
}

/** Whether the text can be a key. */
export function isKey(text: string | undefined): text is string {
  return text !== undefined && text.length === 40 && [...text].every((char) => ALPHABET.includes(char));
}

/** Text of a key pair file. */
export function formatKeyPair(pair: KeyPair, remark: string): string {
  return `# ${remark}\npublic ${pair.publicKey}\nsecret ${pair.secretKey}\n`;
}

/** Reads the text of a key pair file; `path` is for the message. */
export function parseKeyPair(text: string, path: string): KeyPair {
  const fields = new Map(lines(text).map((line) => [line.split(/\s+/)[0], line.split(/\s+/)[1]]));
  const publicKey = fields.get('public');
  const secretKey = fields.get('secret');
  if (!isKey(publicKey) || !isKey(secretKey))
    throw broken(path, 'needs a line `public <key>` and a line `secret <key>`');
  return { publicKey, secretKey };
}

/** Reads the text of an `authorized` file. */
export function parseAuthorized(text: string, path: string): AuthorizedKey[] {
  return lines(text).map((line) => {
    const [publicKey, ...name] = line.split(/\s+/);
    if (!isKey(publicKey)) throw broken(path, `has a line that does not begin with a key: ${line}`);
    return { publicKey, name: name.join(' ') };
  });
}

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('# '));
}

function broken(path: string, what: string): AnnealError {
  return new AnnealError('unauthorized', `The key file ${path} ${what}.`, {
    hint: 'Make a new one: `anneal keys`.',
    path,
  });
}
