/** What `msd verify` prints. */
import { ENGINE_NAMES, type Engine } from '../feeds/engines.ts';
import { threeDigits } from '../shared/numbers.ts';
import { formatTable } from '../shared/table.ts';
import { ENGINES, type LayerResult, type VerifyResult } from './verify.ts';

const dB = (sqnr: number): string => (Number.isFinite(sqnr) ? sqnr.toFixed(1) : sqnr > 0 ? 'exact' : 'NaN');

/** Inputs on which layers lose most, one for each layer. */
const MOST_INPUTS = 3;

/** @param word tokens as text, where there is a tokenizer */
export function verifyText(result: VerifyResult, word: ((ids: readonly number[]) => string) | undefined): string {
  const { layers, whole, kept, ids, leastMargin, texts, falseInputs } = result;
  const right = (header: string) => ({ header, align: 'right' as const });
  const engines = ENGINES.map((engine) => right(`${ENGINE_NAMES[engine]}, dB`));
  const blocks = [
    formatTable(
      [{ header: 'layer', align: 'left' }, right('N'), right('K'), ...engines],
      [
        ...layers.map(({ name, N, K, losses }) => [
          name,
          `${N}`,
          `${K}`,
          ...ENGINES.map((engine) => dB(losses[engine].sqnr)),
        ]),
        ['the whole model', '', '', ...ENGINES.map((engine) => dB(whole[engine].sqnr))],
      ],
    ),
    'dB: signal to noise against the same weights with float activations; a layer by itself, from the same input.',
  ];
  for (const engine of ENGINES) blocks.push(flipText(result, engine, word));
  if (leastMargin !== undefined)
    blocks.push(
      `The closest call with float activations: ${threeDigits(leastMargin)} between the best token and the second.`,
    );
  for (const engine of ENGINES.slice(0, 2)) {
    const worst = worstInputs(layers, engine);
    if (worst.length > 0)
      blocks.push(
        `Worst inputs, ${ENGINE_NAMES[engine]}:\n${worst.map(({ name, at }) => `  ${name}, row ${at.row}${wordAt(ids, at.row, word)}: ${dB(at.sqnr)} dB; channel ${at.channel} is ${threeDigits(at.peak)} times the mean`).join('\n')}`,
      );
  }
  for (const name of falseInputs)
    blocks.push(`Where ${name} chooses, the branch for false was looked at: a first run.`);
  for (const { name, reason } of kept) blocks.push(`not looked at: ${name} (${reason})`);
  if (texts && word) {
    blocks.push(`Float activations:\n  ${word(texts.float.tokens)}`);
    for (const engine of ENGINES) {
      const { tokens } = texts.engines[engine];
      const at = tokens.findIndex((token, i) => token !== texts.float.tokens[i]);
      const said =
        at < 0
          ? 'the same text'
          : `another word after ${at} tokens, where the margin was ${threeDigits(texts.float.margins[at]!)}`;
      blocks.push(`${ENGINE_NAMES[engine]}: ${said}${at < 0 ? '' : `\n  ${word(tokens)}`}`);
    }
  }
  return blocks.join('\n');
}

function flipText(
  { whole }: VerifyResult,
  engine: Engine,
  word: ((ids: readonly number[]) => string) | undefined,
): string {
  const { flips, positions, first } = whole[engine];
  if (positions === 0) return `${ENGINE_NAMES[engine]}: the model makes no choices.`;
  if (!first) return `${ENGINE_NAMES[engine]}: the same token at all ${positions} positions.`;
  const say = (id: number): string => (word ? `'${word([id])}'` : `${id}`);
  return `${ENGINE_NAMES[engine]}: another token at ${flips.length} of ${positions} positions. The first, at position ${first.position}: ${say(first.to)} instead of ${say(first.from)}, which was ${threeDigits(first.margin)} ahead; ${first.product} flips it.`;
}

function worstInputs(layers: readonly LayerResult[], engine: Engine) {
  return layers
    .flatMap(({ name, losses }) => {
      const at = losses[engine].worst;
      return at ? [{ name, at }] : [];
    })
    .sort((a, b) => a.at.sqnr - b.at.sqnr)
    .slice(0, MOST_INPUTS);
}

function wordAt(
  ids: readonly number[] | undefined,
  row: number,
  word: ((ids: readonly number[]) => string) | undefined,
): string {
  const id = ids?.[row];
  return id === undefined || !word ? '' : ` ('${word([id])}')`;
}
