/** A few thousand damaged documents through every rule; scripts/fuzz.ts takes as many as one likes. */
import { it } from 'vitest';
import { DataRandom } from '../../src/data/random.ts';
import { cleaningTarget } from './cleaning_target.ts';

it('cleaning bears any bytes', { timeout: 60_000 }, async () => {
  const random = new DataRandom('cleaning fuzz');
  const pieces = [...cleaningTarget.corpus, ...cleaningTarget.words.map((word) => Buffer.from(word))];
  for (let number = 0; number < 2000; number++) {
    const bytes = Buffer.concat(
      Array.from({ length: 1 + random.below(12) }, () => pieces[random.below(pieces.length)]!),
    );
    for (let flips = random.below(20); flips > 0; flips--)
      bytes[random.below(bytes.length)] = random.below(256);
    await cleaningTarget.run(bytes, number);
  }
});
