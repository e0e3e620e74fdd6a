/**
 * Stands for the people who would rank the quickstart's responses: they like the right answer in one polite sentence,
 * and nothing more. A reward module: gets responses, returns a number for each.
 */
const POLITE = /^(gladly|with pleasure|i am happy to tell you)\b/i;

/** 1: right, polite, one sentence. Right answers lose 0.3 for a rude or plain tone, 0.3 for saying more. */
export default function labeller(responses) {
  return responses.map(({ text, fields }) => {
    const answers = [fields.answer].flat();
    if (!contains(text, String(answers[0]))) return 0;
    const sentences = text.match(/[.!?](\s|$)/g)?.length ?? 0;
    const finished = /[.!?]$/.test(text.trim());
    return 1 - (POLITE.test(text) ? 0 : 0.3) - (sentences === 1 && finished ? 0 : 0.3);
  });
}

/** Whether the answer stands in the text as whole words. */
function contains(text, answer) {
  const plain = (value) =>
    ` ${value
      .normalize('NFKC')
      .toLowerCase()
      .replace(/[\p{P}\p{S}\s]+/gu, ' ')
      .trim()} `;
  return plain(text).includes(plain(answer));
}
