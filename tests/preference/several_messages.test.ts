/** Pairs and labelled completions whose sides are several messages: what the assistant writes in them counts. */
import { describe, expect, it } from 'vitest';
import { type AnswerGroup, scoredTokens } from '../../src/data/preference.ts';
import { groupEncoder, turn } from './group_encoder.ts';

const { encoded, shown, decode, tokensOf } = groupEncoder();

describe('pairs with sides of several messages', () => {
  const prompt = [turn('user', 'Sky?')];
  const [why, more] = [turn('user', 'Why?'), turn('assistant', 'Light.')];
  const row = {
    prompt,
    chosen: [turn('assistant', 'Blue.'), why, more],
    rejected: [turn('assistant', 'Green.')],
  };
  /** What counts of each answer, as text. */
  const counting = ({ answers, scored }: AnswerGroup) =>
    answers.map((ids, i) => decode(ids.filter((_, t) => scored === undefined || scored[i]![t])));

  it('count what the assistant writes', async () => {
    const { groups } = await encoded('pairs', [row]);
    expect(shown(groups[0]!).slice(1)).toEqual([
      'Blue.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nLight.<|im_end|>',
      'Green.<|im_end|>',
    ]);
    expect(counting(groups[0]!)).toEqual(['Blue.<|im_end|>Light.<|im_end|>', 'Green.<|im_end|>']);
    expect([0, 1].map((i) => scoredTokens(groups[0]!, i))).toEqual(
      counting(groups[0]!).map((text) => tokensOf(text)),
    );
  });

  it('are the same with the prompt at the beginning of both, and as labelled completions', async () => {
    const implicit = { chosen: [...prompt, ...row.chosen], rejected: [...prompt, ...row.rejected] };
    const { groups } = await encoded('pairs', [row, implicit]);
    const { origin: _, ...expected } = groups[0]!;
    expect(groups[1]).toMatchObject(expected);
    const { groups: labelled } = await encoded('labels', [{ prompt, completion: row.chosen, label: true }]);
    expect(labelled[0]).toMatchObject({ answers: [expected.answers[0]], scored: [expected.scored![0]] });
  });

  it('are cut to a token that counts', async () => {
    const { groups: whole } = await encoded('pairs', [row]);
    const blue = tokensOf('Blue.<|im_end|>');
    const maxLength = whole[0]!.prompt.length + blue + 3;
    const { groups } = await encoded('pairs', [row], { maxLength });
    expect(shown(groups[0]!).slice(1)).toEqual(['Blue.<|im_end|>', 'Green.<|im_end|>']);
    expect(groups[0]!.scored!.map((marks) => marks.length)).toEqual(
      groups[0]!.answers.map((ids) => ids.length),
    );
  });

  it('that differ only in what the assistant does not write are two', async () => {
    const other = { ...row, rejected: [turn('assistant', 'Blue.'), turn('user', 'How?'), more] };
    const { groups } = await encoded('pairs', [other]);
    expect(counting(groups[0]!)).toEqual(Array(2).fill('Blue.<|im_end|>Light.<|im_end|>'));
  });
});
