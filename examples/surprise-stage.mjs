/**
 * A stage of your own: how surprising each line of a file is to a model, in nats a token. A recipe names the file:
 *
 *     surprise:
 *       type: ../examples/surprise-stage.mjs
 *       model: sft
 *       file: lines.txt
 *
 * docs/stages.md explains the parts.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export default ({ z, AnnealError, StageStopped, openModelFolder, loadModel, loadTokenizer }) => ({
  type: 'surprise',
  doc: 'Mean negative log-likelihood of each line of a file.',

  schema: z.strictObject({
    model: z.string().describe('A stage that makes a model, or a folder.'),
    file: z.string().describe('Text, a line each.'),
  }),
  // `model` names a stage of one of these types, or a folder; its artifact is in `context.inputs`.
  inputs: { model: { types: ['pretrain', 'sft', 'dpo', 'grpo', 'ppo'] } },
  // Their content enters the hash of the artifact: other lines make another one.
  files: async ({ file }, baseDir) => [resolve(baseDir, file)],

  async run({ name, settings, inputs, addon, threads, baseDir, outDir, emit, checkpointRequested }) {
    const { path } = inputs.model;
    const folder = await openModelFolder(path);
    const tokenizer = await loadTokenizer(path, { threads });
    const limit = folder.architecture.maxPositions;
    const lines = (await readFile(resolve(baseDir, settings.file), 'utf8')).split('\n').filter(Boolean);
    if (lines.length === 0) {
      throw new AnnealError('data_empty', `${settings.file} has no lines.`, { path: `stages.${name}.file` });
    }
    const session = await loadModel(addon, folder, {
      threads,
      trainable: false,
      maxTokens: limit,
      maxSequences: 1,
      maxScored: limit,
      recompute: false,
      generationSlots: 0,
      generationLength: 0,
    });
    try {
      const rows = [];
      for (const [i, line] of lines.entries()) {
        // This stage is quick, so what it has done is done again after a stop.
        if (checkpointRequested()) throw new StageStopped();
        const ids = tokenizer.encode(line).slice(0, limit);
        if (ids.length > 1) rows.push([line, await surprise(session, ids)]);
        const progress = { stage: name, done: i + 1, total: lines.length, unit: 'line', metrics: {} };
        emit('progress', progress, `${name}/line/${i}`);
      }
      rows.sort((a, b) => b[1] - a[1]);
      await writeFile(join(outDir, 'surprise.json'), JSON.stringify(rows, null, 2));
      const report = { stage: name, title: 'Surprise', columns: ['line', 'nats'], rows: rows.slice(0, 10) };
      emit('report', { ...report, examples: [] }, `${name}/report`);
    } finally {
      await session.close();
    }
  },
});

/** One sequence; each row but the last is scored with the token that follows it. */
async function surprise(session, ids) {
  const { logProbs } = await session.forward({
    tokens: Int32Array.from(ids),
    cuSeqlens: Int32Array.from([0, ids.length]),
    scored: Int32Array.from(ids.slice(1), (_, i) => i),
    targets: Int32Array.from(ids.slice(1)),
  });
  return -logProbs.reduce((sum, value) => sum + value, 0) / logProbs.length;
}
