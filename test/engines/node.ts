/** One job in this Node, its result as the last line: `node node.js '{"name":"suite"}'`. */
import { type Job, runJob } from './jobs.ts';

const job = JSON.parse(process.argv[2] ?? '{"name":"suite"}') as Job;
console.log(JSON.stringify(await runJob(job)));
