/** Comparing an answer with what was expected, in the way of SQuAD (Rajpurkar et al. 2016): form does not count. */

/** Lower case, no punctuation, no articles, single spaces; accents stay. */
export function normaliseAnswer(text: string): string {
  return text
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\p{P}\p{S}]+/gu, ' ')
    .replace(/\b(a|an|the)\b/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Whether the output is one of the answers. */
export function isExactMatch(output: string, answers: readonly string[]): boolean {
  const found = normaliseAnswer(output);
  return answers.some((answer) => normaliseAnswer(answer) === found);
}

/** Whether one of the answers stands in the output, as whole words. */
export function containsAnswer(output: string, answers: readonly string[]): boolean {
  const found = ` ${normaliseAnswer(output)} `;
  return answers.some((answer) => {
    const wanted = normaliseAnswer(answer);
    return wanted !== '' && found.includes(` ${wanted} `);
  });
}
