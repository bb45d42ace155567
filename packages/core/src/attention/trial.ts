/** What the kernels of attention are tried on: three pages of one head, in 64 KiB of zeros. */
import { pageLayout } from './page.ts';
import { taskScratch } from './scratch.ts';
import { ADDED, APPEND, SEQUENCE, setWords, WORK } from './work.ts';

const HEAD_SIZE = 32;
const GROUPS = 3;
const PAGES = 3;
const TOTAL = 190;
/** Places in the trial's memory. */
const AT = { sequence: 0x200, table: 0x240, q: 0x300, out: 0x600, page: 0x1000, scratch: 0x8000 };

const first = pageLayout({ type: 'float', headSize: HEAD_SIZE }, 0);

const pages = (at: number) => ({
  table: at + AT.table,
  tableRow: 64,
  sequences: at + AT.sequence,
  kvHeads: 1,
  headSize: HEAD_SIZE,
  valueSize: HEAD_SIZE,
});

/** All pages are one and the same, as large as any type's. */
function fillTable(words: Int32Array, at: number): void {
  for (let page = 0; page < PAGES; page++) words[AT.table / 4 + page] = at + AT.page;
}

export function fillAttendTrial(words: Int32Array, at: number): void {
  fillTable(words, at);
  setWords(words, AT.sequence / 4, SEQUENCE, { position: TOTAL - 1, total: TOTAL, count: 1 });
  setWords(words, 0, WORK, {
    ...pages(at),
    q: at + AT.q,
    qHead: 4 * HEAD_SIZE,
    out: at + AT.out,
    outHead: 4 * HEAD_SIZE,
    rows: 1,
    tileRows: 1,
    tiles: 1,
    groups: GROUPS,
    tileHeads: GROUPS,
    headTiles: 1,
    isCausal: 1,
    firstV: first.v,
    firstVs: first.vs,
    firstKc: first.kc,
    v: first.v,
    ks: first.ks,
    vs: first.vs,
    scratch: at + AT.scratch,
    ...taskScratch({ headSize: HEAD_SIZE, valueSize: HEAD_SIZE }, 'int16', GROUPS, PAGES),
  });
}

export function fillAppendTrial(words: Int32Array, at: number): void {
  fillTable(words, at);
  setWords(words, AT.sequence / 4, ADDED, { past: 62, count: 8 });
  setWords(words, 0, APPEND, {
    ...pages(at),
    k: at + AT.q,
    kRow: 4 * HEAD_SIZE,
    v: at + AT.q,
    vRow: 4 * HEAD_SIZE,
    findsFactors: 1,
    rotarySize: HEAD_SIZE,
    firstV: first.v,
    firstVs: first.vs,
    firstKc: first.kc,
    firstIc: first.ic,
    v0: first.v,
    ks: first.ks,
    vs: first.vs,
    scratch: at + AT.scratch,
    atIntegers: 0x400,
  });
}
