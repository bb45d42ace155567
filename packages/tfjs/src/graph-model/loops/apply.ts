/** What a loop that becomes a node changes of the model around it. */
import { type NodeReport, weightsReport } from '../../report.ts';
import { sizeOf } from '../../shapes.ts';
import { type Encoded, encode } from '../../weights/encode.ts';
import { otherReader } from '../claim.ts';
import { formatFor, whyUnwanted } from '../options.ts';
import { GATES_OP } from '../recurrent/run.ts';
import { packedConstant, type Rewriting } from '../rewrite.ts';
import type { NodeDef } from '../topology.ts';
import type { LoopPlan } from './plan.ts';
import { LOOP_OP } from './steps.ts';
import { takeLoop } from './take.ts';

/** Takes the loop, or says why it stays. */
export function applyLoop(plan: LoopPlan, model: Rewriting): void {
  const { packed, replaced, added, nodes, all } = model;
  const { outer } = plan.loop;
  const own = encodeSliced(plan, model);
  if (!(own instanceof Map)) {
    nodes.push(own);
    return;
  }
  const taken = takeLoop(
    plan,
    (constant) => (packed.get(constant) ?? own.get(constant)?.encoded.packed)?.spec,
    (scope, name) => {
      const node = replaced.get(scope)?.get(name) ?? scope.nodes.get(name);
      const data = own.get(name)?.encoded.packed.data;
      return node && data ? packedConstant(node, data.length) : node;
    },
  );
  if (!('nodes' in taken)) {
    nodes.push(taken);
    return;
  }
  for (const [constant, { encoded, bytes, products }] of own) {
    packed.set(constant, encoded.packed);
    for (const scope of all.all) {
      const node = scope.nodes.get(constant);
      if (node) replaced.get(scope)!.set(constant, packedConstant(node, encoded.packed.data.length));
    }
    const weights = weightsReport(encoded, bytes, products.length);
    for (const { name, op } of products) {
      const at = nodes.findIndex((node) => node.name === name && node.where === 'tfjs');
      nodes.splice(at < 0 ? nodes.length : at, at < 0 ? 0 : 1, { name, op, where: 'msd', msdOp: LOOP_OP, weights });
    }
  }
  for (const node of taken.nodes) {
    if (outer.nodes.has(node.name)) replaced.get(outer)!.set(node.name, node);
    else added.set(outer, [...(added.get(outer) ?? []), node]);
  }
  reportLoop(nodes, plan, taken.report);
}

interface EncodedSlices {
  readonly encoded: Encoded;
  readonly bytes: number;
  readonly products: readonly NodeDef[];
}

/** Constants that only a loop multiplies with, column by column; or why that stays. */
function encodeSliced(
  { loop, sliced }: LoopPlan,
  { all: scopes, constants, options }: Rewriting,
): Map<string, EncodedSlices> | NodeReport {
  const found = new Map<string, EncodedSlices>();
  for (const [name, { view, products, readers }] of sliced) {
    const source = constants.get(name)!;
    const stranger = otherReader(
      scopes,
      name,
      readers.map((node) => ({ node })),
    );
    const size = sizeOf(source.shape);
    const unwanted = whyUnwanted({ size, isTable: false, isConvolution: false, isCnn: false }, options);
    const format = { ...formatFor(false, options), canLevel: false };
    const encoded = stranger || unwanted ? undefined : encode(source.stored(), view, format);
    const reason = stranger ? `the weights are also read by ${stranger}` : unwanted;
    if (!encoded || 'reason' in encoded)
      return { name: loop.name, op: loop.op, where: 'tfjs', reason: reason ?? (encoded as { reason: string }).reason };
    found.set(name, { encoded, bytes: source.byteLength, products });
  }
  return found;
}

/** What was a cell or a product of its own is part of the loop now. */
function reportLoop(nodes: NodeReport[], { loop, products }: LoopPlan, report: NodeReport): void {
  const names = new Set(products.map(({ name }) => name));
  const isInside = ({ name }: NodeReport) => {
    const node = loop.inner.nodes.get(name);
    return node !== undefined && (loop.inner !== loop.outer || loop.has(node));
  };
  for (let i = nodes.length - 1; i >= 0; i--) {
    const own = nodes[i]!;
    if (own.where !== 'msd' || !isInside(own)) continue;
    if (own.msdOp === GATES_OP) nodes.splice(i, 1);
    else if (names.has(own.name)) nodes[i] = { ...own, msdOp: LOOP_OP, fused: [] };
  }
  nodes.push(report);
}
