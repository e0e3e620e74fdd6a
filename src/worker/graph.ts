/**
 * The walk over the stages of a recipe: each in its turn, without those that need one that failed; and what the job
 * says in the end.
 */
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import { needsOf, type RecipeStage } from '../recipe/recipe.ts';
import { type Artifact, StageStopped } from '../stages/stage.ts';

export interface Walk {
  /** Called before each stage; throws to end the walk. */
  checkStop(): void;
  /** What a stage makes; undefined: nothing for those that need it, which is no fault. */
  make(stage: RecipeStage, index: number, made: ReadonlyMap<string, Artifact>): Promise<Artifact | undefined>;
  /** What a stage threw as an error of the catalogue. */
  known(error: unknown, stage: RecipeStage): AnnealError;
  /** Told of a stage that failed or cannot run. */
  ended(stage: RecipeStage, index: number, phase: 'failed' | 'skipped', error: ErrorBody): void;
}

/** What came of the stages that were not made. */
export interface Outcome {
  failed: Map<string, ErrorBody>;
  skipped: Map<string, ErrorBody>;
}

/** Walks over the stages in their order; those of `failedBefore` are not tried again. */
export async function walkStages(
  stages: readonly RecipeStage[],
  failedBefore: Readonly<Record<string, ErrorBody>>,
  walk: Walk,
): Promise<Outcome> {
  const made = new Map<string, Artifact>();
  const failed = new Map(Object.entries(failedBefore));
  const skipped = new Map<string, ErrorBody>();
  /** Not to be had, for whatever reason. */
  const unmade = new Map(failed);
  for (const [index, stage] of stages.entries()) {
    walk.checkStop();
    const { name } = stage;
    if (failed.has(name)) continue;
    const missing = needsOf(stage).filter((need) => unmade.has(need));
    if (missing.length > 0) {
      const { code } = unmade.get(missing[0]!)!;
      const error: ErrorBody = { code, message: `It needs ${missing.join(' and ')}.` };
      skipped.set(name, error);
      unmade.set(name, error);
      walk.ended(stage, index, 'skipped', error);
      continue;
    }
    try {
      const artifact = await walk.make(stage, index, made);
      if (artifact) made.set(name, artifact);
      else unmade.set(name, { code: 'recipe_reference', message: `${name} is not there.` });
    } catch (error) {
      if (error instanceof StageStopped) throw error;
      const body = walk.known(error, stage).toBody();
      failed.set(name, body);
      unmade.set(name, body);
      walk.ended(stage, index, 'failed', body);
    }
  }
  return { failed, skipped };
}

/**
 * The error of a job whose other stages are through: that of the one stage that failed, or a list of them, and what
 * was not run.
 */
export function jobError({ failed, skipped }: Outcome): AnnealError {
  const rest = [...skipped].map(([name, { message }]) => `${name} was not run: ${lowered(message)}`);
  const [[first, only]] = [...failed] as [[string, ErrorBody]];
  if (failed.size === 1) {
    const message = [only.message, ...rest].join('\n');
    return AnnealError.fromBody({ ...only, message });
  }
  const lines = [...failed].map(([name, error]) => `${name} failed: ${error.message} (${error.code})`);
  return new AnnealError('stages_failed', [`${failed.size} stages failed.`, ...lines, ...rest].join('\n'), {
    hint: only.hint === undefined ? 'The events of the job have each error.' : `${first}: ${only.hint}`,
    path: `stages.${first}`,
  });
}

function lowered(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
