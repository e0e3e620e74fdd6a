/** Which stages of a recipe cannot run because of others that failed, and what the job says in the end. */
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import { needsOf, type RecipeStage } from '../recipe/recipe.ts';

/** The stages that a stage needs and that are not to be had. */
export function missingNeeds(stage: RecipeStage, unmade: ReadonlyMap<string, unknown>): string[] {
  return needsOf(stage).filter((name) => unmade.has(name));
}

/** Why a stage is skipped. */
export function skipError(missing: string[], unmade: ReadonlyMap<string, ErrorBody>): ErrorBody {
  return { code: unmade.get(missing[0]!)!.code, message: `It needs ${missing.join(' and ')}.` };
}

/**
 * The error of a job whose other stages are through: that of the one stage that failed, or a list of them, and what
 * was not run.
 */
export function jobError(
  failed: ReadonlyMap<string, ErrorBody>,
  skipped: ReadonlyMap<string, ErrorBody>,
): AnnealError {
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
