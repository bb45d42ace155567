/**
 * GroupQueryAttention that stays ONNX Runtime's: as it stands, more than one row goes through a kernel that takes 2.5 to 16 times
 * as long in WebAssembly as the one beside it. Scores that are asked for take the other one, whoever reads them; the sums are the same.
 */
import { FLOAT32 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Infos } from '../ir/infer.ts';
import { createOrtSession, type OrtModule, type OrtSession } from '../ort.ts';
import { Message } from '../write/message.ts';
import { writtenName } from '../write/node.ts';
import { type RegionModel, withExternal } from './external.ts';

/** The form of the file is kept beside a session; regions with larger constants are handed over as they stand. */
export const MAX_SPARE_BYTES = 2 ** 26;

/** Has the node a faster form that means the same? What has softcap, sinks or a smooth softmax is fast as it stands. */
export function hasFastForm({ opType, domain, inputs, outputs, attributes }: GraphNode, infos: Infos): boolean {
  if (opType !== 'GroupQueryAttention' || domain !== 'com.microsoft') return false;
  const given = (name: string): number => {
    const attribute = attributes.get(name);
    return attribute?.kind === 'int' || attribute?.kind === 'float' ? attribute.value : 0;
  };
  if (given('softcap') !== 0 || given('smooth_softmax') !== 0 || (inputs[11] ?? '') !== '') return false;
  if (given('qk_output') !== 0 || outputs.length !== 3 || outputs.includes('')) return false;
  return infos.get(inputs[0] ?? '')?.elemType === FLOAT32;
}

/** The node with its scores as a fourth result, which nobody reads. */
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
  /** The region as the file has it, for a run that finds no memory; absent if that is what `run` runs. */
  readonly spare?: () => Promise<OrtSession>;
}

/** Did a run of ONNX Runtime find no memory? */
export const isOutOfMemory = (error: unknown): boolean => error instanceof Error && /alloc/i.test(error.message);

/** Runs the fast form. Scores take memory, rows x keys of every head: the form of the file is made when they find none. */
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
