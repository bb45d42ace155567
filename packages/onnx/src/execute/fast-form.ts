/**
 * GroupQueryAttention that stays in ONNX Runtime: for more than one row it uses a kernel that takes 2.5 to 16 times as
 * long in WebAssembly as its other one. If scores are an output, it uses the other one, even if nothing reads them; the
 * sums are the same.
 */
import { FLOAT32 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Infos } from '../ir/infer.ts';
import type { OrtModule, OrtSession } from '../ort.ts';
import { Message } from '../write/message.ts';
import { writtenName } from '../write/node.ts';
import { type RegionModel, withExternal } from './external.ts';
import { createOrtSession } from './ort-session.ts';

/** The original form is kept beside a session; regions with larger constants are handed over unchanged. */
export const MAX_SPARE_BYTES = 2 ** 26;

/** Beside some other attributes, such as sliding_window_cache, ONNX Runtime does not give scores. */
const ATTRIBUTES =
  /^(num_heads|kv_num_heads|scale|softcap|do_rotary|rotary_interleaved|local_window_size|smooth_softmax|qk_output|[kv]_quant_type|kv_cache_bit_width)$/;

/**
 * Does the node have a faster form with the same meaning? Nodes with softcap, sinks or a smooth softmax are fast
 * already.
 */
export function hasFastForm({ opType, domain, inputs, outputs, attributes }: GraphNode, infos: Infos): boolean {
  if (opType !== 'GroupQueryAttention' || domain !== 'com.microsoft') return false;
  const given = (name: string): number => {
    const attribute = attributes.get(name);
    return attribute?.kind === 'int' || attribute?.kind === 'float' ? attribute.value : 0;
  };
  if (given('softcap') !== 0 || given('smooth_softmax') !== 0 || (inputs[11] ?? '') !== '') return false;
  if (given('qk_output') !== 0 || outputs.length !== 3 || outputs.includes('')) return false;
  return (
    infos.get(inputs[0] ?? '')?.elemType === FLOAT32 && [...attributes.keys()].every((name) => ATTRIBUTES.test(name))
  );
}

/** The node with its scores as a fourth result, which nothing reads. */
export function fastForm(node: GraphNode): Message {
  const { opType, domain, inputs, outputs, attributes, attributeRanges } = node;
  const message = new Message();
  for (const input of inputs) message.string(1, input);
  for (const output of [...outputs, `scores of ${outputs[0]}`]) message.string(2, output);
  message.string(3, writtenName(node)).string(4, opType);
  const names = [...attributes.keys()];
  attributeRanges.forEach((range, i) => {
    if (names[i] !== 'qk_output') message.bytes(5, range);
  });
  return message.message(5, new Message().string(1, 'qk_output').int(3, 1).int(20, 2)).string(7, domain);
}

/** A session of a region. */
export interface RegionSession extends OrtSession {
  /** The region in its original form, for a run that finds no memory; absent if `run` runs that form. */
  readonly spare?: () => Promise<OrtSession>;
}

/** Did a run of ONNX Runtime run out of memory? */
export const isOutOfMemory = (error: unknown): boolean => error instanceof Error && /alloc/i.test(error.message);

/**
 * Runs the fast form. Scores take memory, rows x keys for every head; if there is not enough, the original form is
 * created.
 */
export async function createFast(
  ort: OrtModule,
  fast: RegionModel,
  asItStands: RegionModel,
  options: object,
): Promise<RegionSession> {
  const session = await createOrtSession(ort, fast.bytes, withExternal(options, fast));
  let spare: Promise<OrtSession> | undefined;
  return {
    ...session,
    spare: () => {
      spare ??= createOrtSession(ort, asItStands.bytes, withExternal(options, asItStands));
      return spare;
    },
    release: async () => {
      const made = await spare?.catch(() => undefined);
      await Promise.all([session, made].map((each) => each?.release()));
    },
  };
}
