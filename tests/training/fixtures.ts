/** Fixtures that last as long as the tests of a file or of a `describe`. */
import { afterAll } from 'vitest';
import type { Fixture } from './fixture.ts';

/** Makes fixtures by `make`, and removes them when the tests around this call have ended. */
export function keptFixtures(make: () => Fixture): () => Fixture {
  const fixtures: Fixture[] = [];
  afterAll(() => {
    for (const fixture of fixtures) fixture.remove();
  });
  return () => {
    const fixture = make();
    fixtures.push(fixture);
    return fixture;
  };
}
