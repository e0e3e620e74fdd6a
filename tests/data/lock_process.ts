/** A process that takes a lock: `count` adds one to a number in a file so often, `hold` holds it until it is killed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { LockFile, withLock } from '../../src/util/lock_file.ts';

const [what, path, file = '', times = '0'] = process.argv.slice(2);
if (what === 'count') {
  for (let i = 0; i < Number(times); i++) {
    await withLock(path!, async () => {
      const before = Number(readFileSync(file, 'utf8'));
      await new Promise((resolve) => setTimeout(resolve, 2));
      writeFileSync(file, String(before + 1));
    });
  }
} else {
  console.log(await new LockFile(path!).take());
  setInterval(() => undefined, 1000);
}
