/** Our side of a data benchmark, once: `node bench/data_worker.ts WORK OPTIONS`; the last line is a `Measurement`. */
import { cpuSeconds, type Measurement, type Options, peakBytes } from './data_harness.ts';
import { loadBench } from './data_works.ts';

const [work = '', options = '{}'] = process.argv.slice(2);
const done = await (await loadBench(work)).ours(JSON.parse(options) as Options);
const measured: Measurement = { ...done, cpuSeconds: cpuSeconds(), peakBytes: peakBytes() };
console.log(JSON.stringify(measured));
