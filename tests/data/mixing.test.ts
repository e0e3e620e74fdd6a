/** How the sources of a dataset are mixed: shares, temperature, epochs, caps, and the phases of a curriculum. */
import { beforeAll, describe, expect, it } from 'vitest';
import { openTokenDataset, readManifest } from '../../src/data/dataset.ts';
import { prepareStage } from '../../src/stages/prepare.ts';
import { twoSources } from './two_sources.ts';

const { path, prepare, sources, settings } = twoSources();

describe('mixing', () => {
  /** Tokens of each source, in each phase. */
  function sharesOf(name: string): { web: number; code: number }[] {
    const dataset = openTokenDataset(path(name), 'train');
    const shares = dataset.phaseEnds.map(() => ({ web: 0, code: 0 }));
    let phase = 0;
    for (let i = 0; i < dataset.numDocuments; i++) {
      while (i >= dataset.phaseEnds[phase]!) phase += 1;
      shares[phase]![dataset.origin(i).startsWith('web') ? 'web' : 'code'] += dataset.length(i);
    }
    dataset.close();
    return shares;
  }
  const stock = { web: 0, code: 0 };
  const more = (mixing: object) => ({ validation_fraction: 0, unit_bytes: 1 << 20, mixing });

  beforeAll(async () => {
    await prepare('by-times', more({}));
    Object.assign(stock, sharesOf('by-times')[0]);
  });

  it('takes all where nothing is said', () => {
    expect(readManifest(path('by-times')).sources.map(({ rates }) => rates)).toEqual([[1], [1]]);
    expect(stock.web).toBeGreaterThan(2 * stock.code);
  });

  it('by share: as much as there is in these proportions', async () => {
    const { events } = await prepare('by-share', {
      ...more({ by: 'share' }),
      sources: [
        { ...sources[0], weight: 1 },
        { ...sources[1], weight: 3 },
      ],
    });
    const [shares] = sharesOf('by-share');
    expect(shares!.code).toBe(stock.code);
    expect(shares!.web / shares!.code).toBeCloseTo(1 / 3, 1);
    // What is taken whole is not named.
    const told = events.find(({ key }) => key?.endsWith('/kept'))!.body as { text: string };
    const rate = Number(/; mixing takes web (0\.\d+) times\.$/.exec(told.text)![1]);
    expect(rate).toBeCloseTo(stock.code / 3 / stock.web, 2);
  });

  it('by temperature: between equal shares and shares by size', async () => {
    await prepare('by-temperature', more({ by: 'temperature', temperature: 2 }));
    const [shares] = sharesOf('by-temperature');
    expect(shares!.code).toBe(stock.code);
    expect(Math.abs(shares!.web / shares!.code / Math.sqrt(stock.web / stock.code) - 1)).toBeLessThan(0.1);
  });

  it('keeps to epochs and caps', async () => {
    await prepare('epochs', {
      ...more({ by: 'share' }),
      sources: [
        { ...sources[0], weight: 1, max_tokens: 3000 },
        { ...sources[1], weight: 1, epochs: 3, max_documents: 100 },
      ],
    });
    const [shares] = sharesOf('epochs');
    expect(shares!.web).toBeLessThanOrEqual(3000);
    expect(Math.abs(shares!.code / shares!.web - 1)).toBeLessThan(0.2);
    const documents = readManifest(path('epochs')).sources[1]!.train_documents;
    expect(documents).toBeLessThanOrEqual(100);
    expect(documents).toBeGreaterThan(80);
    await prepare('at-most', more({ max_tokens: 2000 }));
    const all = readManifest(path('at-most')).splits.train.tokens;
    expect(Math.abs(all / 2000 - 1)).toBeLessThan(0.2);
  });

  it('follows a curriculum, without repeating a document before its time', async () => {
    const curriculum = [
      { until: 0.7, weights: { code: 0.25 } },
      { until: 1, weights: { web: 0.5 } },
    ];
    await prepare('curriculum', {
      ...more({ curriculum }),
      sources: sources.map((source) => ({ ...source, epochs: 1 })),
    });
    const [first, second] = sharesOf('curriculum');
    const total = first!.web + first!.code + second!.web + second!.code;
    expect((first!.web + first!.code) / total).toBeCloseTo(0.7, 1);
    const ratio = stock.web / stock.code;
    expect(Math.abs(first!.web / first!.code / (4 * ratio) - 1)).toBeLessThan(0.25);
    expect(Math.abs(second!.web / second!.code / (ratio / 2) - 1)).toBeLessThan(0.25);
    const dataset = openTokenDataset(path('curriculum'), 'train');
    const origins = Array.from({ length: dataset.numDocuments }, (_, i) => dataset.origin(i));
    dataset.close();
    expect(new Set(origins).size).toBe(origins.length);
  });

  it('refuses phases that make no sense', async () => {
    const parse = (curriculum: object[]) =>
      prepareStage.schema.safeParse({ ...settings, mixing: { curriculum } }).error?.issues[0]?.message;
    expect(parse([{ until: 0.5 }])).toContain('must be 1');
    expect(parse([{ until: 0.5 }, { until: 0.5 }, { until: 1 }])).toContain('later');
    const unknown = more({ curriculum: [{ until: 1, weights: { cod: 2 } }] });
    await expect(prepare('unknown', unknown)).rejects.toMatchObject({ hint: 'Did you mean code?' });
  });
});
