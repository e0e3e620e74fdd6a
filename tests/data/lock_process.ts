/** A process that takes a lock: `count` adds one to a number in a file so often, `hold` holds it until it is killed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { LockFile } from '../../src/util/lock_file.ts';

const [what, path, file = '', times = '0'] = process.argv.slice(2);
if (what === 'count') {
  for (let i = 0; i < Number(times); i++) {
    const lock = new LockFile(path!);
    while (!(await lock.take())) await delay(20);
    const before = Number(readFileSync(file, 'utf8'));
    await delay(2);
    writeFileSync(file, String(before + 1));
    await lock.release();
  }
} else {
  console.log(await new LockFile(path!).take());
  setInterval(() => undefined, 1000);
}
