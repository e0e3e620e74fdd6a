/**
 * What raw files hold: the shape of their rows and whether they fit it, fields, lengths, languages, duplicates, and
 * examples; for a model, as it would be trained on them, the scored text marked.
 */
import { join, resolve } from 'node:path';
import type { DataQueryOf } from '../../../proto/data.ts';
import type { Page, Section, SectionOf } from '../../../proto/page.ts';
import { ArtifactStore } from '../../artifacts/store.ts';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.ts';
import { tokenSpans } from '../../training/audit.ts';
import { exists } from '../../util/files.ts';
import { formatFact } from '../page/format.ts';
import { LengthHistogram } from '../page/histogram.ts';
import { type RowContent, SUPERVISED } from '../shapes/content.ts';
import { rowErrorOf } from '../shapes/errors.ts';
import { givenSettings } from '../shapes/given.ts';
import { type GroupKind, groupKind } from '../shapes/groups.ts';
import type { FieldRow } from '../shapes/row.ts';
import type { RowSettings } from '../shapes/settings.ts';
import { Shaper } from '../shapes/shaper.ts';
import { isTruth, SHAPES, ShapeCounts, type ShapeName } from '../shapes/shapes.ts';
import { readRecords } from '../sources/read.ts';
import { type RawRecord, recordOrigin } from '../sources/unit.ts';
import { encodeRow } from '../supervised.ts';
import { FieldSurvey } from './fields.ts';
import { LanguageSurvey } from './languages.ts';
import { contentKey, type QueryContext, textsOf } from './place.ts';
import { spansOf } from './sample.ts';

const MOST_PROBLEMS = 5;

export async function inspect(ask: DataQueryOf<'inspect'>, context: QueryContext): Promise<Page> {
  const survey = new Survey(ask, givenSettings(ask.settings), await tokenizerOf(ask.model, context));
  for await (const { unit, records } of readRecords(ask.in, survey.settings, context.baseDir)) {
    for (const record of records) {
      survey.add(record, recordOrigin(unit, record.line));
      if (survey.full) return survey.page();
    }
  }
  return survey.page();
}

class Survey {
  readonly settings: RowSettings;
  readonly #ask: DataQueryOf<'inspect'>;
  readonly #tokenizer: Tokenizer | undefined;
  readonly #shaper: Shaper<ShapeName, RowContent | undefined>;
  readonly #shapes = new ShapeCounts();
  readonly #fields = new FieldSurvey();
  readonly #characters = new LengthHistogram();
  readonly #tokens = new LengthHistogram();
  readonly #languages = new LanguageSurvey();
  readonly #hashes = new Set<string>();
  readonly #problems: SectionOf<'rows'>['rows'] = [];
  readonly #examples: SectionOf<'rows'>['rows'] = [];
  #rows = 0;
  /** Those that were looked into: all but those that `where` leaves out and those that cannot be read. */
  #surveyed = 0;
  #misfits = 0;
  #bytes = 0;
  #scored = 0;
  /** How the first row that does not fit could be mended. */
  #hint: string | undefined;

  constructor(ask: DataQueryOf<'inspect'>, settings: RowSettings, tokenizer: Tokenizer | undefined) {
    this.#ask = ask;
    this.settings = settings;
    this.#tokenizer = tokenizer;
    this.#shaper = new Shaper(settings, {
      takes: Object.keys(SHAPES) as ShapeName[],
      // A row may have the fields of a shape, and not what the stages that take it need: it is parsed as they do.
      parse: (row, shape) => {
        const kind = groupsOf(row, shape);
        if (kind !== undefined) groupKind(kind).parse(row, shape);
        const known = supervisedShape(row, shape);
        return known && SUPERVISED.parse(row, known);
      },
    });
  }

  get full(): boolean {
    return this.#rows >= this.#ask.max_rows;
  }

  add(record: RawRecord, origin: string): void {
    this.#rows += 1;
    let texts: Texts | undefined;
    const survey = () => {
      texts ??= this.#survey(record);
      return texts;
    };
    try {
      const shaped = this.#shaper.read(record, origin);
      if (shaped === undefined) return;
      const own = survey();
      this.#shapes.add(shaped.shape, shaped.besides);
      this.#example(shaped.content, origin, own);
    } catch (thrown) {
      const error = rowErrorOf(thrown, origin);
      this.#misfits += 1;
      this.#hint ??= error.hint;
      // What cannot be read has neither fields nor a language.
      const text = record.bad ? record.bad.excerpt : wholeOf(survey());
      if (this.#problems.length < MOST_PROBLEMS) {
        this.#problems.push({
          origin,
          label: `${error.field === undefined ? '' : `${error.field} `}${error.problem}`,
          spans: spansOf([{ field: undefined, text }]),
        });
      }
    }
  }

  /** Counts what a row holds; returns its texts. */
  #survey(record: RawRecord): Texts {
    if (record.fields) this.#fields.add(record.fields);
    const texts =
      record.text === undefined
        ? textsOf(record.fields ?? {})
        : [{ field: undefined, text: record.text.toString() }];
    const whole = wholeOf(texts);
    this.#surveyed += 1;
    this.#bytes += Buffer.byteLength(whole);
    this.#characters.add(whole.length);
    this.#languages.add(whole);
    this.#hashes.add(contentKey(whole));
    return texts;
  }

  /** For a model rows are encoded, all of them: their lengths count. */
  #example(content: RowContent | undefined, origin: string, texts: Texts): void {
    const wanted = this.#examples.length < this.#ask.examples;
    if (this.#tokenizer === undefined || content === undefined) {
      if (wanted) this.#examples.push({ origin, spans: spansOf(texts) });
      return;
    }
    const { ids, scored } = encodeRow(content, this.#tokenizer, {
      loss_on: 'all',
      assistant_only_loss: true,
      completion_only_loss: true,
    });
    this.#tokens.add(ids.length);
    this.#scored += scored.reduce((sum, each) => sum + each, 0);
    if (!wanted) return;
    const spans = tokenSpans(ids, scored, this.#tokenizer);
    this.#examples.push({ origin, spans: spans.map(({ text, scored: marked }) => ({ text, marked })) });
  }

  page(): Page {
    const sections: (Section | undefined)[] = [
      this.#facts(),
      this.#problems.length === 0
        ? undefined
        : {
            kind: 'rows',
            title: 'Rows that do not fit',
            note: `${formatFact(this.#misfits)} of ${formatFact(this.#rows)}; the first of them.`,
            rows: this.#problems,
          },
      this.#fields.section(),
      this.#characters.section('Length of rows', 'characters'),
      this.#tokenizer && this.#tokens.section('Length of rows as they are trained on', 'tokens'),
      this.#languages.section(),
      this.#examples.length === 0
        ? undefined
        : {
            kind: 'rows',
            title: 'Examples',
            ...(this.#tokenizer ? { note: 'Scored text is marked: it is what the loss is of.' } : {}),
            rows: this.#examples,
          },
    ];
    return { title: this.#ask.in.join(', '), sections: sections.filter((section) => section !== undefined) };
  }

  #facts(): SectionOf<'facts'> {
    const duplicates = this.#surveyed - this.#hashes.size;
    const left = this.#shaper.filter.describe();
    const tokens = this.#tokens.stored().sum;
    return {
      kind: 'facts',
      title: 'What it holds',
      ...(this.full ? { note: `The first ${formatFact(this.#rows)} rows; --max-rows reads more.` } : {}),
      facts: [
        { name: 'rows', value: this.#rows },
        ...(left === undefined ? [] : [{ name: 'left out', value: this.#shaper.filter.leftOut, note: left }]),
        { name: 'shape', value: this.#shapes.rows === 0 ? 'none that is known' : this.#shapes.describe() },
        {
          name: 'do not fit',
          value: this.#misfits,
          ...(this.#hint === undefined ? {} : { note: this.#hint }),
        },
        { name: 'text', value: this.#bytes, note: 'bytes of UTF-8' },
        { name: 'duplicates', value: duplicates, note: 'rows whose text an earlier row has' },
        ...(this.#tokenizer
          ? [
              { name: 'tokens', value: tokens },
              { name: 'scored', value: this.#scored, note: 'tokens, if only answers count' },
            ]
          : []),
      ],
    };
  }
}

type Texts = ReturnType<typeof textsOf>;

function wholeOf(texts: Texts): string {
  return texts.map(({ text }) => text).join('\n');
}

/** The shape as which supervised stages read a row of a shape; undefined: they do not. */
function supervisedShape(row: FieldRow, shape: ShapeName): (typeof SUPERVISED.takes)[number] | undefined {
  if (shape !== 'labelled') return SUPERVISED.takes.find((name) => name === shape);
  if (row.has('completion')) return row.has('prompt') ? 'completion' : undefined;
  return row.has('messages') ? 'messages' : row.has('instruction') ? 'alpaca' : undefined;
}

/** As what preference stages read rows of the shape: not labels other than true and false, nor lists without an order. */
function groupsOf(row: FieldRow, shape: ShapeName): GroupKind | undefined {
  if (shape === 'pair') return 'pairs';
  if (shape === 'responses') return row.has('ranking') || row.has('scores') ? 'rankings' : undefined;
  return shape === 'labelled' && isTruth(row.get('label')) ? 'labels' : undefined;
}

async function tokenizerOf(
  model: string | undefined,
  { home, baseDir, threads }: QueryContext,
): Promise<Tokenizer | undefined> {
  if (model === undefined) return undefined;
  const folder = resolve(baseDir, model);
  if (await exists(join(folder, 'tokenizer.json'))) return loadTokenizer(folder, { threads });
  return loadTokenizer(await new ArtifactStore(home).resolveModel(model), { threads });
}
