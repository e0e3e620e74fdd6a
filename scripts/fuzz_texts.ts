/** Texts that tell tokenizers apart: what their split patterns, normalizers and added tokens look at, and anything. */
import type { DataRandom } from '../src/data/random.ts';

const PIECES = [
  ...' \t\n\r\'’.,!?-_/()"#$%&*+:;<=>@[]^`{|}~\\0123456789aAbBzZsStTmMdDéÉßſKßǅΩωжЖشअी中日本語の々ー・ゞ゛한각ﬁ²³½Ⅷ٣๑ˇʰª',
  ...[
    '\u0085',
    '\u00A0',
    '\u1680',
    '\u2028',
    '\u2029',
    '\u3000',
    '\u200B',
    '\u200D',
    '\uFEFF',
    '\0',
    '\u001C',
    '\u0001',
  ],
  ...[
    '\u0301',
    '\u0323',
    '\u0345',
    '\u0308',
    '\u0E38',
    '\u3099',
    '\u1100',
    '\u1161',
    '\u11A8',
    '\uAC00',
    '\u0F73',
    '\u212B',
    '\u2126',
    '\u0958',
  ],
  ...['🙂', '👩‍👧', '🇫🇷', '👍🏽', '𝒳', '𞤀', '𞤢', '\u{10FFFF}', '\u{E0001}', '\uE000', '\u0378'],
  ...["'s", "'S", "'LL", "'lL", "'Ve", "'ſ", "'re", "'RE", "'d", "'M", "'t", '’s', "''"],
  ...[
    '\r\n',
    '\n\n',
    '\r',
    '  ',
    '   ',
    '    ',
    ' \n',
    '\t\n ',
    ' \u3000',
    '...',
    '!!\n',
    '/\n/',
    ' /',
    '//\r\n/',
  ],
  ...[
    'the',
    ' and',
    ' The',
    'HTTP',
    'getURL',
    'ABCdef',
    'x1',
    '1984',
    ' 12',
    '3.14',
    '1,000',
    ' été',
    '你好',
    '世界',
    'です',
    '한국어',
    'Привет',
  ],
  ...['▁', '▁▁', '<0x0A>', '<s>', '</s>', '<|', '|>', '<|im_', '<unk>'],
];

/** One text; `tokens` are added tokens to put in now and then. */
export function fuzzText(random: DataRandom, tokens: readonly string[]): string {
  const length = 1 + random.below(random.below(8) === 0 ? 120 : 24);
  let text = '';
  let piece = '';
  for (let i = 0; i < length; i++) {
    const kind = random.below(16);
    if (kind === 0) piece = randomCharacter(random);
    else if (kind === 1 && tokens.length > 0) piece = tokens[random.below(tokens.length)]!;
    else if (kind > 3 || piece === '') piece = PIECES[random.below(PIECES.length)]!;
    text += piece; // kinds 2 and 3: once more
  }
  return text;
}

function randomCharacter(random: DataRandom): string {
  const planes = [0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000];
  const point = random.below(planes[random.below(planes.length)]!);
  return point >= 0xd800 && point < 0xe000 ? '' : String.fromCodePoint(point);
}

/** Long and complete texts, each once: every character, runs without end, line breaks of all kinds. */
export function hardTexts(bytes: number): string[] {
  const points = Array.from({ length: 0x110000 }, (_, point) => point).filter(
    (p) => p < 0xd800 || p > 0xdfff,
  );
  const every = (between: string): string => points.map((point) => String.fromCodePoint(point)).join(between);
  return [
    '',
    ...['', ' ', 'a', ' a', '\n', 'A\u0301', '1', "'"].map(every),
    ...[
      ' ',
      'a',
      '\n',
      '1',
      '!',
      '中',
      '\u0301',
      ' \n',
      'ab',
      '▁',
      "'s",
      'é',
      '🙂',
      '\r\n',
      'Aa',
      '\u00a0',
    ].map((unit) => unit.repeat(bytes / Buffer.byteLength(unit))),
  ];
}
