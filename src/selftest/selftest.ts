/**
 * The self-test of a recipe: which of its stages are tested and which are only needed for that, and the test of one
 * stage. A stage is run as it is, up to its first optimiser step; the checks are made on what it did until then.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AnnealError, type ErrorBody } from '../../proto/errors.ts';
import type { EventBody } from '../../proto/events.ts';
import type { Recipe } from '../recipe/recipe.ts';
import type { AnyStage, StageContext } from '../stages/stage.ts';
import { makeDir } from '../util/files.ts';
import { nearest } from '../util/nearest.ts';
import { type Check, checkStep } from './checks.ts';
import { recordingAddon, TestEnded } from './recorder.ts';

/** The stages to be tested (all that train, or those named), and those that make what these read. */
export function selftestRoles(recipe: Recipe, names: readonly string[]): Map<string, 'test' | 'make'> {
  const roles = new Map<string, 'test' | 'make'>();
  const byName = new Map(recipe.stages.map((stage) => [stage.name, stage]));
  for (const name of names) {
    const stage = byName.get(name);
    if (stage?.definition.trains) continue;
    const able = recipe.stages.flatMap((each) => (each.definition.trains ? [each.name] : []));
    const guess = nearest(name, able);
    throw new AnnealError(
      'recipe_reference',
      stage ? `Stage ${name} trains nothing that could be tested.` : `The recipe has no stage ${name}.`,
      {
        path: 'selftest',
        hint: guess ? `Did you mean ${guess}?` : `Stages that train: ${able.join(', ') || 'none'}.`,
      },
    );
  }
  const need = (name: string): void => {
    for (const input of Object.values(byName.get(name)!.inputs)) {
      if (input.kind !== 'stage') continue;
      if (!roles.has(input.stage)) roles.set(input.stage, 'make');
      need(input.stage);
    }
  };
  for (const { name, definition } of recipe.stages) {
    if (!definition.trains || (names.length > 0 && !names.includes(name))) continue;
    roles.set(name, 'test');
    need(name);
  }
  if (roles.size === 0) {
    throw new AnnealError('recipe_reference', 'No stage of the recipe trains: there is nothing to test.', {
      path: 'selftest',
      hint: 'Name a recipe with a training stage.',
    });
  }
  return roles;
}

/** Refuses an outcome without a test: a stage that was asked for, or all, could not be tested. */
export function requireTested(
  roles: ReadonlyMap<string, 'test' | 'make'>,
  skipped: ReadonlyMap<string, ErrorBody>,
  asked: readonly string[],
): void {
  const tested = [...roles].flatMap(([name, role]) => (role === 'test' ? [name] : []));
  const left = tested.filter((name) => skipped.has(name));
  if (left.length === 0) return;
  if (left.length < tested.length && asked.length === 0) return;
  const why = left.map((name) => `${name}: ${skipped.get(name)!.message}`);
  throw new AnnealError('recipe_reference', ['Not everything could be tested.', ...why].join(' '), {
    path: 'selftest',
    hint: 'Run the recipe first: a model that is trained further must be there. Without --stage what can be is tested.',
  });
}

/** Tests one stage in its context; tells the table in a report, and throws `selftest_failed` when a check fails. */
export async function testStage(definition: AnyStage, context: StageContext<unknown>): Promise<void> {
  const { name, addon, workDir } = context;
  // From its beginning: gradients of a checkpoint are of passes that nobody has recorded.
  await rm(workDir, { recursive: true, force: true });
  await makeDir(workDir);
  let checks: Check[] | undefined;
  const files = join(workDir, 'selftest');
  await makeDir(files);
  const recorded = recordingAddon(addon, async (recordings, step) => {
    checks = await checkStep(addon, recordings, step, files);
  });
  try {
    await definition.run({ ...context, addon: recorded } as StageContext<never>);
  } catch (error) {
    if (!(error instanceof TestEnded)) throw error;
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
  if (!checks) throw new AnnealError('selftest_failed', `Stage ${name} ended without a step to test.`);
  context.emit('report', selftestReport(name, checks), `${name}/selftest`);
  const failed = checks.filter(({ ok }) => !ok);
  if (failed.length === 0) return;
  throw new AnnealError(
    'selftest_failed',
    `${failed.length} of ${checks.length} checks of ${name} failed: ${failed.map((check) => check.name).join('; ')}.`,
    {
      path: `stages.${name}`,
      hint: 'Do not trust what this machine trains; `anneal doctor` says what it is. Please report it.',
    },
  );
}

/** The table of the checks. */
export function selftestReport(stage: string, checks: readonly Check[]): EventBody<'report'> {
  return {
    stage,
    title: `Self-test of ${stage}`,
    columns: ['check', 'result', 'difference', 'bound', 'typical'],
    rows: checks.map(({ name, ok, figure, bound, typical }) => [
      name,
      ok ? 'pass' : 'FAIL',
      Number.isFinite(figure) ? figure : null,
      bound,
      typical !== null && Number.isFinite(typical) ? typical : null,
    ]),
    examples: [],
  };
}
