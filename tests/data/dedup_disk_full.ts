/** Run by dedup.test.ts inside a small mount: sorts more than fits there, and prints the error and what is left. */
import { readdirSync } from 'node:fs';
import { findDuplicates } from '../../src/data/dedup/duplicates.ts';
import { dedupSettings } from '../../src/data/dedup/settings.ts';
import { loadAddon } from '../../src/native/addon.ts';

const [exact, dir] = process.argv.slice(2) as [string, string];
const settings = dedupSettings.parse({ memory_bytes: 1 << 20 });
const error = await findDuplicates(settings, [{ exact, documents: 200_000, group: 0 }], {
  addon: loadAddon(),
  threads: 1,
  dir,
}).then(
  () => ({}),
  ({ code, path }: { code: string; path: string }) => ({ code, path }),
);
console.log(JSON.stringify({ ...error, left: readdirSync(dir) }));
