/** What the tests against Hugging Face's tokenizers share: the peer, and texts that try everything. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { DataRandom } from '../../src/data/random.ts';
import { SPECIALS } from '../tokenizer/fixture.ts';

const python = process.env.ANNEAL_PEERS_PYTHON;
export const hasPeer = python !== undefined;

/** Asks Hugging Face `tokenizers` and `transformers` (tokenizer_peer.py). */
export function peer<Reply>(request: object): Reply {
  const run = spawnSync(python!, [join(import.meta.dirname, 'tokenizer_peer.py')], {
    input: JSON.stringify(request),
    maxBuffer: 1 << 28,
    encoding: 'utf8',
    env: { ...process.env, HF_HUB_OFFLINE: '1' },
  });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout) as Reply;
}

/** Text of characters that the split patterns tell apart, special tokens, and anything else that Unicode has. */
export function fuzzTexts(count: number): string[] {
  const random = new DataRandom('fuzz');
  const pieces = [
    ..." \t\n\r'’.,!?-_0123456789aZéßſKßΩжشअ中日本語한ﬁ²½Ⅷ٣๑",
    ...[
      '\u0085',
      '\u00A0',
      '\u2028',
      '\u3000',
      '\u200B',
      '\u0301',
      '\uFEFF',
      '\0',
      '🙂',
      '👩‍👧',
      '𝒳',
      '\u{10FFFF}',
    ],
    ...["'s", "'LL", "'Ve", "'ſ", "'re", "'d", "'M", '\r\n', '   ', '\n\n', '...', 'the', ' and', '1984'],
    ...SPECIALS,
    '<|im_',
  ];
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.below(40) }, () => {
      if (random.below(8) > 0) return pieces[random.below(pieces.length)]!;
      const point = random.below(random.below(2) === 0 ? 0x3000 : 0x110000);
      return point >= 0xd800 && point < 0xe000 ? '' : String.fromCodePoint(point);
    }).join(''),
  );
}
