/** What `msd quantize` prints. */
import { bytesText } from '../shared/numbers.ts';
import { formatTable } from '../shared/table.ts';
import type { ChosenForMore } from './more-bits.ts';
import type { MatrixResult, QuantizeResult } from './quantize.ts';

/** Matrices of one form, side by side with what rounding to nearest would have given. */
interface Summary {
  readonly form: string;
  readonly matrices: number;
  readonly weights: number;
  readonly byteLength: number;
  readonly sqnr: number;
  readonly sqnrByRounding: number;
  readonly leastGain: number;
}

/** By form, in the order of the file; decibels are means. */
export function summaries(matrices: readonly MatrixResult[]): Summary[] {
  const forms = new Map<string, MatrixResult[]>();
  for (const matrix of matrices) forms.set(matrix.form, [...(forms.get(matrix.form) ?? []), matrix]);
  return [...forms].map(([form, all]) => {
    const finite = all.filter(({ sqnr, sqnrByRounding }) => Number.isFinite(sqnr) && Number.isFinite(sqnrByRounding));
    const mean = (of: (matrix: MatrixResult) => number): number =>
      finite.reduce((sum, matrix) => sum + of(matrix), 0) / finite.length;
    return {
      form,
      matrices: all.length,
      weights: all.reduce((sum, { N, K }) => sum + N * K, 0),
      byteLength: all.reduce((sum, { byteLength }) => sum + byteLength, 0),
      sqnr: mean(({ sqnr }) => sqnr),
      sqnrByRounding: mean(({ sqnrByRounding }) => sqnrByRounding),
      leastGain: Math.min(...finite.map(({ sqnr, sqnrByRounding }) => sqnr - sqnrByRounding)),
    };
  });
}

const dB = (value: number): string => (Number.isFinite(value) ? value.toFixed(1) : 'exact');

export function quantizeText(
  { matrices, kept, written }: QuantizeResult,
  before: number,
  chosen: readonly ChosenForMore[],
  isDetailed: boolean,
): string {
  const right = (header: string) => ({ header, align: 'right' as const });
  const lines = isDetailed
    ? formatTable(
        [
          { header: 'weights', align: 'left' },
          { header: 'form', align: 'left' },
          right('N'),
          right('K'),
          right('rounded, dB'),
          right('here, dB'),
        ],
        matrices.map(({ name, form, N, K, sqnr, sqnrByRounding }) => [
          name,
          form,
          `${N}`,
          `${K}`,
          dB(sqnrByRounding),
          dB(sqnr),
        ]),
      )
    : formatTable(
        [
          { header: 'form', align: 'left' },
          right('matrices'),
          right('weights'),
          right('bytes'),
          right('rounded, dB'),
          right('here, dB'),
        ],
        summaries(matrices).map((each) => [
          each.form,
          `${each.matrices}`,
          `${each.weights}`,
          bytesText(each.byteLength),
          dB(each.sqnrByRounding),
          dB(each.sqnr),
        ]),
      );
  const rows = Math.max(0, ...matrices.map(({ calibratedRows }) => calibratedRows));
  const said = [
    lines,
    rows > 0
      ? `dB: signal to noise of the products' outputs, on up to ${rows} rows of activations; "rounded" is round to nearest in the same form.`
      : 'dB: signal to noise of the weights; "rounded" is round to nearest in the same form. With --calibrate they follow the activations.',
  ];
  if (chosen.length > 0) said.push(moreText(chosen));
  const reasons = new Map<string, string[]>();
  for (const { name, reason } of kept) reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
  for (const [reason, names] of reasons) said.push(`kept as floats: ${listed(names)} (${reason})`);
  const paths = written.files.map(({ path, byteLength }) => `${path} (${bytesText(byteLength)})`).join(', ');
  said.push(`${bytesText(before)} -> ${bytesText(written.byteLength)}: ${paths}`);
  return said.join('\n');
}

/** Why some have 8 bits. */
function moreText(chosen: readonly ChosenForMore[]): string {
  const bytes = bytesText(chosen.reduce((sum, { moreBytes }) => sum + moreBytes, 0));
  const names = listed(chosen.map(({ name }) => name));
  const share = chosen.reduce<number | undefined>(
    (sum, each) => (sum === undefined || each.share === undefined ? undefined : sum + each.share),
    0,
  );
  const why =
    share === undefined
      ? 'the head, which every token goes through'
      : `${Math.round(100 * share)} % of what 4 bits change in the next token's probabilities`;
  return `8 bits: ${names} (${why}), ${bytes} more; --more limits these bytes.`;
}

const listed = (names: readonly string[]): string =>
  names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
