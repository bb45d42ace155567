import { readFileSync } from 'node:fs';
import { readModel } from './dist/read/model.js';
import { openSource } from './dist/read/open.js';

for (const f of process.argv.slice(2)) {
  const s = await openSource(new Uint8Array(readFileSync(f)), {});
  const r = readModel(s);
  const c = {};
  for (const n of r.graph.nodes) c[n.opType] = (c[n.opType] ?? 0) + 1;
  console.log(f, JSON.stringify(c));
}
