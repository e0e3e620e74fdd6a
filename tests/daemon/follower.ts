/** A subscriber as a process, to be killed: prints the number of each event. HOME JOB SINCE [LAST] */
import { connect } from '../../src/client/client.ts';

const [home, job, since, last] = process.argv.slice(2);
const client = await connect({ home: home! });
for await (const event of client.follow(job!, { since: Number(since) })) {
  process.stdout.write(`${event.seq}\n`);
  if (event.seq === Number(last)) break;
}
await client.close();
