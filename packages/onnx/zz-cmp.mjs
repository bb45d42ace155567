import { execSync } from 'node:child_process';
import { loadOperators } from './dist/execute/families.js';
import { knownCounts, wrongCount, wrongKind } from './dist/ops/schema.js';
await loadOperators();
const old = await import('/tmp/size/wt/packages/onnx/dist/ops/schema.js');
const a=[...knownCounts()].sort().join(), b=[...old.KNOWN_COUNTS].sort().join(); console.log(a===b, a.length,b.length);
let bad=0; for (const n of knownCounts()) for (let i=0;i<22;i++) for(let o=0;o<6;o++) for (const v of [7,10,11,13,14,18,24]) { const r={inputs:Array(i).fill('x'),outputs:Array(o).fill('y')}; if (wrongCount(n,r,v)!==old.wrongCount(n,r,v)) bad++; } console.log('bad',bad);
