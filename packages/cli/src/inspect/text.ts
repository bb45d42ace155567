/** What `msd inspect` prints. */
import { styleText } from 'node:util';
import { bytesText, countText, threeDigits } from '../shared/numbers.ts';
import { type Column, formatTable } from '../shared/table.ts';
import type { Looked, RunFigures } from './look.ts';

const left = (header: string): Column => ({ header, align: 'left' });
const right = (header: string): Column => ({ header, align: 'right' });

/** Of one file. */
export function lookedText(looked: Looked): string {
  const { name, nodes, operators, multiplications, bytes, read } = looked;
  const title = `${styleText('bold', name)}  ${bytesText(bytes.file)}`;
  const reading = read.bytes > 0 ? `, ${bytesText(read.bytes)} of it read (${threeDigits(100 * read.share)} %)` : '';
  const cut = read.isCut ? '\nMore small constants would have had to be read: they were taken for zeros.' : '';
  // A file in ORT format: nothing in it can be looked at.
  if (nodes.total === 0 && looked.whole !== undefined) return `${title}${reading}\n\n${silentText(looked.whole)}`;
  const table = formatTable(
    [right('nodes'), left('where'), left('operator'), left('why not in MSD')],
    operators.map(({ count, where, operator, reason = '' }) => [`${count}`, where, operator, reason]),
  );
  const total = looked.prompt.macs;
  const kinds = multiplications
    .filter(({ macs }) => macs >= 0.005 * total)
    .map(({ operator, macs }) => `${operator} ${Math.round((100 * macs) / total)} %`);
  return [
    `${title}${reading}${cut}`,
    '',
    verdict(looked),
    '',
    table,
    '',
    `${nodes.msd} of ${nodes.total} nodes and ${Math.round(100 * looked.prompt.msdShare)} % of the multiplications in MSD` +
      `${kinds.length > 0 ? ` (${kinds.join(', ')})` : ''}.`,
    '',
    timesTable(looked),
    timesNote(looked),
    '',
    memoryText(looked),
  ].join('\n');
}

function silentText(whole: string): string {
  return (
    `MSD leaves all of it to onnxruntime-web: ${whole}, of which MSD can read neither operators nor sizes. ` +
    'Inspect or quantize the .onnx file that it was made of.'
  );
}

function verdict({ whole, foreignRunsPerCall, operators }: Looked): string {
  if (whole === undefined) {
    if (foreignRunsPerCall === 0) return 'MSD runs all of it: onnxruntime-web is not started.';
    const runs = foreignRunsPerCall === 1 ? 'one run' : `${foreignRunsPerCall} runs`;
    return `MSD runs it with ${runs} of onnxruntime-web in every call.`;
  }
  return `MSD leaves all of it to onnxruntime-web: ${whole}. ${advice(operators.map(({ operator }) => operator))}`;
}

/** What to do about a model that MSD cannot help. */
function advice(operators: readonly string[]): string {
  if (operators.some((operator) => /MatMul|Gemm|Conv/.test(operator)))
    return "Quantize its weights (msd quantize MODEL -o OUT, or the session option quantize: 'int8'), and MSD has something to gain.";
  return 'There is nothing in it that MSD makes faster: run it in onnxruntime-web.';
}

function timesTable({ prompt, token, times }: Looked): string {
  const hasPlain = prompt.plainMs !== undefined;
  const row = (name: string, run: RunFigures): string[] => [
    name,
    countText(run.macs),
    rateText(run.hereMs, run.tokens),
    ...(times === 'measured' ? [`${threeDigits(run.expected.ms)} ms`] : []),
    ...(hasPlain ? [run.plainMs === undefined ? '' : rateText(run.plainMs, run.tokens)] : []),
    rateText(run.phoneMs, run.tokens),
  ];
  return formatTable(
    [
      left(''),
      right('multiplications'),
      right(times === 'measured' ? 'here, measured' : 'here, derived'),
      ...(times === 'measured' ? [right('derived')] : []),
      ...(hasPlain ? [right('plain onnxruntime-web')] : []),
      right('phone-class, estimated'),
    ],
    [
      row(token ? `prompt of ${prompt.tokens} tokens` : 'one run', token ? prompt : { ...prompt, tokens: 0 }),
      ...(token ? [row(`a token after ${token.past}`, token)] : []),
    ],
  );
}

/** @param tokens 0 = it has none */
function rateText(ms: number, tokens: number): string {
  return `${threeDigits(ms)} ms${tokens > 0 ? `, ${threeDigits((1000 * tokens) / ms)} tokens/s` : ''}`;
}

function timesNote({ times, notMeasured, loadMs = 0, firstRunMs = 0, read, prompt, token }: Looked): string {
  const later = token ? ` in the prompt; ${token.expected.why} in a token after it.` : '.';
  const reasons = `Derived from kernels that were timed on this machine: ${prompt.expected.why}${later}`;
  if (times === 'predicted') return `Not measured, because ${notMeasured}.\n${reasons}`;
  const with_ = read.bytes > 0 ? 'with made-up weights of the same sizes' : 'with its own weights';
  return `Measured on this machine ${with_}: loaded in ${threeDigits(loadMs / 1000)} s (without the download), first run ${threeDigits(firstRunMs)} ms.\n${reasons}`;
}

function memoryText({ bytes, fits }: Looked): string {
  const kv = bytes.kvPer1000Tokens;
  const parts = [
    `Memory: ${bytesText(bytes.wasm)} of WebAssembly after a run; ${bytesText(bytes.packed)} of it packed weights.`,
    ...(kv > 0 ? [`Keys and values: ${bytesText(kv)} for 1000 tokens.`] : []),
    ...(bytes.tables > 0 ? [`Tables that are read row by row, outside of it: ${bytesText(bytes.tables)}.`] : []),
  ];
  const where = kv > 0 ? `With ${fits.tokens} tokens it` : 'It';
  const room = fits.in2GB
    ? 'fits in 2 GB of wasm memory.'
    : fits.in4GB
      ? 'fits in 4 GB of wasm memory, not in 2 GB.'
      : 'does not fit in 4 GB of wasm memory.';
  return [...parts, `${where} ${room}`].join('\n');
}
