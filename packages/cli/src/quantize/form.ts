/** What weights can become, and how a user says so. */
import { matchesPattern } from '@msd/onnx/model';
import { UsageError } from '../shared/errors.ts';

export type FormatName = 'int8' | 'int4' | 'int2' | 'mxfp4';

/** A number format with what goes with it. */
export interface Form {
  readonly format: FormatName;
  /** k that share a scale; `undefined`: what suits the matrix. */
  readonly blockSize: number | undefined;
  readonly isAsymmetric: boolean;
}

/** What weights become; `keep` = stay as they are. */
export type Choice = Form | 'keep';

/** A rule: a name, or a pattern with stars, of nodes or their weights. */
export interface Rule {
  readonly pattern: string;
  readonly choice: Choice;
}

const BITS: Readonly<Record<FormatName, 2 | 4 | 8>> = { int8: 8, int4: 4, int2: 2, mxfp4: 8 };
const BLOCKS: readonly number[] = [16, 32, 64, 128, 256];

/** Bits of a code as the file has it: E2M1's doubled values need 8 of MatMulNBits. */
export const bitsOf = ({ format }: Form): 2 | 4 | 8 => BITS[format];

const GRAMMAR = 'int8, int4, int2, mxfp4 or keep, and behind it :32, :64, :128, :asymmetric';

/**
 * Reads `int4`, `int4:64`, `int4:32:asymmetric`, `keep`.
 *
 * @param option named in errors
 * @throws {@link UsageError}
 */
export function parseChoice(text: string, option: string): Choice {
  const [name = '', ...parts] = text.split(':');
  const wrong = (got: string): UsageError => new UsageError(`${option}: expected ${GRAMMAR}, got ${got}.`);
  if (name === 'keep' && parts.length === 0) return 'keep';
  if (!Object.hasOwn(BITS, name)) throw wrong(`'${text}'`);
  const format = name as FormatName;
  let blockSize: number | undefined;
  let isAsymmetric = false;
  for (const part of parts) {
    if (part === 'asymmetric') isAsymmetric = true;
    else if (part === 'symmetric') isAsymmetric = false;
    else if (BLOCKS.includes(Number(part))) blockSize = Number(part);
    else throw wrong(`'${text}'`);
  }
  if (format === 'mxfp4' && (isAsymmetric || (blockSize ?? 32) !== 32))
    throw new UsageError(`${option}: MXFP4 has blocks of 32 and no zero points, got '${text}'. Write mxfp4.`);
  return { format, blockSize: format === 'mxfp4' ? 32 : blockSize, isAsymmetric };
}

/** Reads `PATTERN=FORMAT`. */
export function parseRule(text: string): Rule {
  const at = text.lastIndexOf('=');
  if (at <= 0) throw new UsageError(`--rule: expected PATTERN=FORMAT, as in '*lm_head*=int8', got '${text}'.`);
  return { pattern: text.slice(0, at), choice: parseChoice(text.slice(at + 1), `--rule ${text.slice(0, at)}`) };
}

/** Says a choice as {@link parseChoice} reads it. */
export function choiceText(choice: Choice): string {
  if (choice === 'keep') return choice;
  const { format, blockSize, isAsymmetric } = choice;
  return [format, ...(blockSize === undefined ? [] : [blockSize]), ...(isAsymmetric ? ['asymmetric'] : [])].join(':');
}

/** Does a name fit a pattern? One without stars is the name itself. */
export function fitsPattern(pattern: string): (name: string) => boolean {
  return pattern.includes('*') ? matchesPattern(pattern) : (name) => name === pattern;
}

/** What the weights of a node become: a rule that names them, else the first pattern that fits, else `otherwise`. */
export function chooser(rules: readonly Rule[], otherwise: Choice): (names: readonly string[]) => Choice {
  const used = rules.map(({ pattern, choice }) => ({ pattern, choice, fits: fitsPattern(pattern) }));
  return (names) =>
    (
      used.find(({ pattern }) => names.includes(pattern)) ??
      used.find(({ fits }) => names.some((name) => fits(name))) ?? { choice: otherwise }
    ).choice;
}

/** The block that a matrix gets: the largest common one that leaves no block half empty. */
export function blockFor({ format, blockSize }: Form, K: number): number {
  if (blockSize !== undefined) return blockSize;
  const wanted = format === 'int8' ? [128, 64, 32] : [32];
  return wanted.find((block) => K % block === 0) ?? 32;
}
