/** Types of the values that go into a body and come out of it. */
import type { Infos } from '../../ir/infer.ts';
import type { Info, Size, Symbols } from '../../ir/info.ts';
import type { Dim, ValueType } from '../../read/types.ts';

/** A way through a body, as far as its types are concerned. */
interface Typed {
  readonly typed: { readonly infos: Infos };
}

/** As an input of a body: symbols of the outside are names there. */
export function typeOfInfo(info: Info | undefined): ValueType {
  return { kind: 'tensor', elemType: info?.elemType ?? 0, dims: info?.dims };
}

/** The declared type of a body's value; where nothing is declared, the type that it is given. */
export function declaredOf(declared: ValueType, given: Info | undefined): ValueType {
  if (declared.kind !== 'tensor' && declared.kind !== 'unknown') return declared;
  const elemType = declared.elemType || (given?.elemType ?? 0);
  const dims = declared.dims;
  if (!dims || !given?.dims) return { kind: 'tensor', elemType, dims: dims ?? given?.dims };
  // Declarations are not checked.
  if (dims.length !== given.dims.length) return { kind: 'tensor', elemType, dims: undefined };
  return { kind: 'tensor', elemType, dims: dims.map((dim, i) => sizeOf(dim, given.dims![i]!)) };
}

function sizeOf(declared: Dim, given: Size): Dim {
  if (typeof given === 'number') return typeof declared === 'number' && declared !== given ? null : given;
  return typeof declared === 'number' ? null : given;
}

/** Sizes of a slice along an axis. */
export function withoutAxis(info: Info | undefined, axis: number): Info | undefined {
  const { dims } = info ?? {};
  return dims && { elemType: info!.elemType, dims: dims.toSpliced(axis < 0 ? axis + dims.length : axis, 1) };
}

/**
 * The type of a carried value that a pass may begin with: what the first one is given and what each leaves.
 *
 * @param name of the body's input
 * @returns the same object if all of them have the type that was assumed
 */
export function widened(type: ValueType, name: string, output: string, ways: readonly Typed[]): ValueType {
  let widest = type;
  for (const { typed } of ways) {
    const [before, after] = [typed.infos.get(name), typed.infos.get(output)];
    if (widest.elemType === 0 && after?.elemType) widest = { ...widest, elemType: after.elemType };
    if (!widest.dims || !after?.dims || !before?.dims) continue;
    if (after.dims.length !== before.dims.length) widest = { ...widest, dims: undefined };
    else if (after.dims.some((dim, i) => changes(widest.dims![i]!, before.dims![i]!, dim)))
      widest = {
        ...widest,
        dims: widest.dims.map((dim, i) => (changes(dim, before.dims![i]!, after.dims![i]!) ? growing(name, i) : dim)),
      };
  }
  return widest;
}

/** A symbol for a size that may differ in every pass. */
const growing = (name: string, axis: number): string => `past of ${name}, ${axis}`;

function changes(assumed: Dim, before: Size, after: Size): boolean {
  if (typeof assumed === 'string' && /^past of /.test(assumed)) return false;
  return before !== after && (typeof before === 'number' || typeof after === 'string');
}

/** What is known about a value, whichever branch was taken: sizes that differ are open. */
export function merged(infos: readonly (Info | undefined)[]): Info {
  const [first, ...others] = infos;
  let { elemType, dims } = first ?? UNKNOWN;
  for (const other of others) {
    elemType ||= other?.elemType ?? 0;
    const ofOther = other?.dims;
    dims = dims?.length === ofOther?.length ? dims?.map((dim, i) => (ofOther![i] === dim ? dim : '?')) : undefined;
  }
  return { elemType, dims };
}

const UNKNOWN: Info = { elemType: 0, dims: undefined };

/**
 * The same outside of the body.
 *
 * @param known symbols of the outside: a body has them by the names that {@link typeOfInfo} gave them
 */
export function outside({ elemType, dims }: Info, known: ReadonlySet<Size>, symbols: Symbols): Info {
  const sizeOutside = (dim: Size): Size => {
    if (typeof dim === 'number') return dim;
    const name = dim.replace(/^\?\?/, '?');
    return name !== '?' && known.has(name) ? name : symbols.fresh();
  };
  return { elemType, dims: dims?.map(sizeOutside) };
}
