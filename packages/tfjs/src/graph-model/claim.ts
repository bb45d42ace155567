/** Which constants become packed tensors: those that every reader in every part of the model can read that way. */
import { sizeOf } from '../shapes.ts';
import type { Constants } from '../weights/source.ts';
import type { WeightView } from '../weights/view.ts';
import { whyUnwanted } from './options.ts';
import { CANDIDATES, passedOn, recognise, rootOf, type Use } from './recognise.ts';
import { handedBy, type Scopes } from './scopes.ts';
import { type NodeDef, parseInput, type Scope } from './topology.ts';

/** Constants with fewer elements are left alone. */
export interface ClaimOptions {
  readonly minElements: number;
  readonly convolutions: boolean | 'auto';
  readonly tables: boolean;
}

export interface Claim {
  readonly constant: string;
  readonly view: WeightView;
  readonly uses: readonly Use[];
}

export interface Refusal {
  readonly node: NodeDef;
  readonly reason: string;
}

/** Convolutions that look at neighbours: what makes a model a CNN. */
const isSpatial = (node: NodeDef, constants: Constants): boolean => {
  if (/^(_Fused)?DepthwiseConv2d/.test(node.op)) return true;
  if (node.op !== 'Conv2D' && node.op !== '_FusedConv2D') return false;
  const [height = 1, width = 1] = constants.get(node.input?.[1] ?? '')?.shape ?? [];
  return height * width > 1;
};

export function claim(
  all: Scopes,
  constants: Constants,
  options: ClaimOptions,
): { claims: Claim[]; floats: Use[]; refusals: Refusal[] } {
  const scopes = all.all;
  const refusals: Refusal[] = [];
  const floats: Use[] = [];
  const uses = new Map<string, Use[]>();
  const nodes = scopes.flatMap(({ nodes: own }) => [...own.values()]);
  const isCnn = nodes.some((node) => isSpatial(node, constants));
  for (const scope of scopes)
    for (const node of scope.nodes.values()) {
      if (!CANDIDATES.has(node.op)) continue;
      const found = recognise(node, scope, constants);
      if ('reason' in found) {
        // Index arithmetic gathers from shapes: nothing that anyone would expect to be quantized.
        if (found.reason !== 'no constant table') refusals.push({ node, reason: found.reason });
        continue;
      }
      const { view, convolution, isFloat } = found;
      // Weights that stay floats cost nothing, however few they are.
      const size = isFloat ? Number.POSITIVE_INFINITY : sizeOf(constants.get(found.constant)!.shape);
      const isTable = view.kind === 'table';
      const wanted = { size, isTable, isConvolution: convolution !== undefined, isCnn, gain: convolution?.gain };
      const reason = whyUnwanted(wanted, options);
      if (reason) refusals.push({ node, reason });
      else if (isFloat) floats.push(found);
      else uses.set(found.constant, [...(uses.get(found.constant) ?? []), found]);
    }

  const claims: Claim[] = [];
  for (const [constant, found] of uses) {
    const view = commonView(found.map(({ view: own }) => own));
    const stranger = otherReader(all, constant, found);
    if (view && !stranger) claims.push({ constant, view, uses: found });
    else {
      const reason = stranger
        ? `the weights are also read by ${stranger}`
        : 'the weights are read in two ways that no packed form serves';
      for (const { node } of found) refusals.push({ node, reason });
    }
  }
  return { claims, floats, refusals };
}

/** The one form that all uses can read, if there is one. */
function commonView([first, ...rest]: readonly WeightView[]): WeightView | undefined {
  let common = first!;
  for (const view of rest) {
    const [matrix, other] = common.kind === 'matrix' ? [common, view] : [view, common];
    if (matrix.kind === 'table') continue; // two tables
    if (other.kind === 'table') {
      // Tied embeddings: the rows of an [N,K] matrix are looked up.
      if (!matrix.transposed || matrix.batchShape.length) return undefined;
      common = matrix;
      continue;
    }
    const isSame =
      matrix.transposed === other.transposed &&
      matrix.N === other.N &&
      matrix.K === other.K &&
      matrix.batchShape.join() === other.batchShape.join();
    if (!isSame) return undefined;
  }
  return common;
}

/** A reader of the constant that is none of these uses, whatever it goes through; or that the value leaves the graph. */
export function otherReader(scopes: Scopes, constant: string, uses: readonly Pick<Use, 'node'>[]): string | undefined {
  const readers = new Set(uses.map(({ node }) => node));
  const pending = scopes.all.flatMap((scope) =>
    scope.nodes.get(constant)?.op === 'Const' ? [{ scope, name: constant, isArgument: false }] : [],
  );
  const seen = new Set<string>();
  for (let at = pending.pop(); at; at = pending.pop()) {
    const { scope, name, isArgument } = at;
    const key = `${scope.where}/${name}`;
    if (seen.has(key)) continue; // loops come back
    seen.add(key);
    // A loop hands its argument back as it got it, and nobody reads that.
    if (scope.outputs.has(name) && !isArgument) return 'the caller, as an output';
    for (const reader of scope.consumers.get(name) ?? []) {
      const inputs = reader.input ?? [];
      const here = inputs.flatMap((input, i) => (parseInput(input).node === name && !input.startsWith('^') ? [i] : []));
      const handed = handedBy(reader, scopes).filter(({ index }) => here.includes(index));
      if ((reader.op === 'Merge' || here.includes(0)) && passedOn(scope, reader) !== undefined)
        pending.push({ scope, name: reader.name, isArgument });
      else if (handed.length && handed.length === here.length && !isReadBehind(scope, reader, here))
        for (const { inside } of handed)
          pending.push(...inside.map((own) => ({ ...own, isArgument: /While$/.test(reader.op) })));
      else if (!readers.has(reader)) return `${reader.name} (${reader.op})`;
      else if (inputs.filter((input) => rootOf(scope, input) === constant).length > 1)
        return `${reader.name} as another operand`;
    }
  }
  return undefined;
}

/** Does anybody read what a loop hands back at these places? */
function isReadBehind(scope: Scope, loop: NodeDef, places: readonly number[]): boolean {
  if (!/While$/.test(loop.op)) return false;
  const readers = scope.consumers.get(loop.name) ?? [];
  return readers.some(({ input = [] }) =>
    input.map(parseInput).some(({ node, index, control }) => node === loop.name && !control && places.includes(index)),
  );
}
