import { fileURLToPath } from 'node:url';
import { tellStory } from './src/corpus.ts';
import { loadDecoder } from './src/engines.ts';
import { greedyRun } from './src/greedy-run.ts';
import { encodePrompt, openModelFolder } from './src/model-folder.ts';
import { seededRandom } from './src/random.ts';

const folder = openModelFolder(fileURLToPath(new URL('./generated', import.meta.url)), 'q4');
const d = { ort: await loadDecoder('ort', folder), msd: await loadDecoder('msd', folder) };
const random = seededRandom(+(process.argv[2] ?? 7));
const until = Date.now() + 400e3;
let n = 0;
while (Date.now() < until) {
  const words = tellStory(random).split(' ');
  const text = words.slice(0, 2 + Math.floor(random() * 12)).join(' ');
  const p = encodePrompt(folder, text, 70);
  const ids = {};
  for (const e of ['msd', 'ort']) ids[e] = (await greedyRun(d[e], p, 60, () => false)).ids;
  n++;
  const i = ids.msd.findIndex((x, k) => x !== ids.ort[k]);
  if (i >= 0) console.log(n, JSON.stringify(text), 'differs at', i);
}
console.log('tried', n);
process.exit(0);
