/** Seeded models of the pipelines that hear, see and speak: what transformers-models.ts is for the others. */
import { halfBitsOf } from '../src/model.ts';
import type { AttributeSpec, GraphSpec, NodeSpec, TensorSpec, ValueSpec } from '../src/write/index.ts';
import { MERGED, op } from './merged.ts';
import { Draft, floats, IMAGE, ids, mergedDecoderGraph, PATCHES, patchStates } from './transformers-models.ts';

const { width } = MERGED;

/** Samples of sound that a token becomes. */
const HOP = 32;

/** VITS's shape: from words to a wave of HOP samples for each, smoothed by a convolution along time. */
export function voiceGraph(): GraphSpec {
  const draft = new Draft();
  const states = draft.layer(draft.embedded('input_ids'), draft.padding('attention_mask'));
  const samples = draft.op('Reshape', [draft.linear(states, width, HOP), draft.ints(0, 1, -1)]);
  const smooth = draft.op('Conv', [samples, draft.weight([1, 1, 5], 0.4)], { pads: { ints: [2, 2] } });
  draft.op('Reshape', [draft.op('Tanh', [smooth]), draft.ints(0, -1)], {}, 'waveform');
  draft.op('Identity', [states], {}, 'spectrogram');
  return draft.graph(
    [ids('input_ids'), ids('attention_mask')],
    [floats('waveform', 'b', 'samples'), floats('spectrogram', 'b', 'rows', width)],
  );
}

/** DETR's shape: every patch of an image proposes a box. The last class is that of nothing. */
export function detectorGraph(classes: number): GraphSpec {
  const draft = new Draft();
  const mask = draft.op('ReduceMean', [draft.op('Cast', ['pixel_mask'], { to: { int: 1 } })], { keepdims: { int: 0 } });
  const states = draft.op('Mul', [patchStates(draft), mask]);
  draft.linear(states, width, classes + 1, 'logits');
  draft.op('Sigmoid', [draft.linear(states, width, 4)], {}, 'pred_boxes');
  return draft.graph(
    [floats('pixel_values', 'b', 3, IMAGE, IMAGE), { name: 'pixel_mask', dtype: 'int64', dims: ['b', 64, 64] }],
    [floats('logits', 'b', PATCHES, classes + 1), floats('pred_boxes', 'b', PATCHES, 4)],
  );
}

/** What an image is for a decoder: a state for each patch. @param name of the output */
export function lookerGraph(name: 'last_hidden_state' | 'image_features'): GraphSpec {
  const draft = new Draft();
  draft.linear(patchStates(draft), width, width, name);
  return draft.graph([floats('pixel_values', 'b', 3, IMAGE, IMAGE)], [floats(name, 'b', PATCHES, width)]);
}

/** Where an answer begins, and where it ends. */
export function answerGraph(): GraphSpec {
  const draft = new Draft();
  const states = draft.layer(draft.embedded('input_ids'), draft.padding('attention_mask'));
  const both = draft.linear(states, width, 2);
  for (const [i, name] of ['start_logits', 'end_logits'].entries())
    draft.op('Gather', [both, draft.int(i)], { axis: { int: 2 } }, name);
  return draft.graph(
    [ids('input_ids'), ids('attention_mask')],
    [floats('start_logits', 'b', 'rows'), floats('end_logits', 'b', 'rows')],
  );
}

/** States of length one, against those of texts: CLIP's end, and OWL-ViT's. */
function likeness(draft: Draft, states: string): string {
  const words = draft.layer(draft.embedded('input_ids'), draft.padding('attention_mask'));
  const text = draft.linear(draft.op('Gather', [words, draft.int(0)], { axis: { int: 1 } }), width, width);
  const [a, b] = [states, text].map((x) =>
    draft.op('Div', [x, draft.op('ReduceL2', [x, draft.ints(-1)], { keepdims: { int: 1 } })]),
  ) as [string, string];
  const turned = draft.op('Transpose', [b], { perm: { ints: [1, 0] } });
  return draft.op('Mul', [draft.op('MatMul', [a, turned]), draft.float(5)]);
}

const textsAndImages = [
  ids('input_ids', 'words'),
  ids('attention_mask', 'words'),
  floats('pixel_values', 'images', 3, IMAGE, IMAGE),
].map((value, i) => (i < 2 ? { ...value, dims: ['texts', 'words'] } : value));

/** CLIP's shape: how well each image and each text go together. */
export function pairGraph(): GraphSpec {
  const draft = new Draft();
  const first = draft.op('Gather', [patchStates(draft), draft.int(0)], { axis: { int: 1 } });
  draft.op('Identity', [likeness(draft, draft.linear(first, width, width))], {}, 'logits_per_image');
  return draft.graph(textsAndImages, [floats('logits_per_image', 'images', 'texts')]);
}

/** OWL-ViT's shape: the same of every patch, with a box. */
export function finderGraph(): GraphSpec {
  const draft = new Draft();
  const states = patchStates(draft);
  draft.op('Identity', [likeness(draft, draft.linear(states, width, width))], {}, 'logits');
  draft.op('Sigmoid', [draft.linear(states, width, 4)], {}, 'pred_boxes');
  return draft.graph(textsAndImages, [
    floats('logits', 'images', PATCHES, 'texts'),
    floats('pred_boxes', 'images', PATCHES, 4),
  ]);
}

/** A table of its own, for decoders that are fed what is in it. */
export function embedGraph(): GraphSpec {
  const draft = new Draft();
  draft.op('Identity', [draft.linear(draft.embedded('input_ids'), width, width)], {}, 'inputs_embeds');
  return draft.graph([ids('input_ids')], [floats('inputs_embeds', 'b', 'rows', width)]);
}

/** Bands of a spectrogram, and frames of it that one step makes. */
export const VOICE = { bands: 16, frames: 2, speaker: 8 } as const;

/** SpeechT5's encoder: it says itself which of its states count. */
export function readerGraph(): GraphSpec {
  const draft = new Draft();
  draft.op('Identity', [draft.layer(draft.embedded('input_ids'), undefined)], {}, 'encoder_outputs');
  const all = draft.op('Equal', ['input_ids', 'input_ids']);
  draft.op('Cast', [all], { to: { int: 7 } }, 'encoder_attention_mask');
  return draft.graph(
    [ids('input_ids')],
    [floats('encoder_outputs', 'b', 'rows', width), ids('encoder_attention_mask')],
  );
}

/** SpeechT5's decoder: a merged decoder that is fed the frame that it made last, and says whether it has ended. */
export function talkerGraph(): GraphSpec {
  const { bands, frames, speaker } = VOICE;
  const merged = mergedDecoderGraph('same');
  const draft = new Draft();
  const last = draft.op('Slice', ['output_sequence', draft.ints(-1), draft.ints(2 ** 31 - 1), draft.ints(1)]);
  const voice = draft.op('Unsqueeze', [draft.linear('speaker_embeddings', speaker, width), draft.ints(1)]);
  draft.op('Add', [draft.linear(last, bands, width), voice], {}, 'x');
  const before = draft.nodes.splice(0);
  const mask = draft.op('ReduceMean', [draft.op('Cast', ['encoder_attention_mask'], { to: { int: 1 } })], {
    keepdims: { int: 0 },
  });
  const cut = (from: number, to: number): string =>
    draft.op('Slice', ['logits', draft.ints(from), draft.ints(to), draft.ints(2)]);
  const seen = draft.op('Mul', [cut(0, bands * frames), mask]);
  draft.op('Reshape', [seen, draft.ints(frames, bands)], {}, 'spectrum');
  const own = draft.op('Reshape', [seen, draft.ints(1, frames, bands)]);
  const newest = draft.op('Slice', [own, draft.ints(-1), draft.ints(2 ** 31 - 1), draft.ints(1)]);
  draft.op('Concat', ['output_sequence', newest], { axis: { int: 1 } }, 'output_sequence_out');
  const ends = draft.op('Sub', [cut(bands * frames, bands * frames + frames), draft.float(8)]);
  draft.op('Sigmoid', [ends], {}, 'prob');
  const nodes = merged.nodes as readonly NodeSpec[];
  return {
    nodes: [...before, ...nodes.filter(({ outputs }) => outputs[0] !== 'x'), ...draft.nodes],
    initializers: [
      ...draft.initializers,
      ...(merged.initializers as readonly TensorSpec[]).filter(({ name }) => name !== 'embedding'),
    ],
    inputs: [
      ...merged.inputs.filter(({ name }) => name !== 'input_ids'),
      floats('output_sequence', 'b', 'frames', bands),
      floats('speaker_embeddings', 'b', speaker),
      ids('encoder_attention_mask', 'encoder_rows'),
    ],
    outputs: [
      ...merged.outputs.filter(({ name }) => name !== 'logits'),
      floats('output_sequence_out', 'b', 'more_frames', bands),
      floats('spectrum', frames, bands),
      floats('prob', 'b', 1, frames),
    ],
  };
}

/** HiFi-GAN's place: from a spectrogram [frames, bands] to a wave. */
export function vocoderGraph(): GraphSpec {
  const draft = new Draft();
  const wide = draft.op('Relu', [draft.linear('spectrogram', VOICE.bands, width)]);
  const samples = draft.op('Tanh', [draft.linear(wide, width, HOP)]);
  draft.op('Reshape', [samples, draft.ints(-1)], {}, 'waveform');
  return draft.graph([floats('spectrogram', 'frames', VOICE.bands)], [floats('waveform', 'samples')]);
}

/** float16 has nothing beyond. */
const MOST_HALF = 65504;

/** The same as converters to float16 leave it: all floats are halves but for inputs and outputs that are no cache. */
export function halved(graph: GraphSpec): GraphSpec {
  const isCache = (name: string): boolean => /^(past|present)/.test(name);
  const isFloat = ({ dtype }: { readonly dtype?: unknown }): boolean => dtype === 'float32';
  const outer = [...graph.inputs, ...graph.outputs].filter((value) => isFloat(value) && !isCache(value.name));
  const names = new Map(outer.map(({ name }) => [name, `${name} half`]));
  const nameOf = (name: string): string => names.get(name) ?? name;
  const cast = (from: string, to: string, code: number): NodeSpec => op('Cast', [from], to, { to: { int: code } });
  const typed = (value: ValueSpec): ValueSpec =>
    isFloat(value) && isCache(value.name) ? { ...value, dtype: 'float16' } : value;
  const isInput = new Set(graph.inputs.map(({ name }) => name));
  return {
    nodes: [
      ...outer.filter(({ name }) => isInput.has(name)).map(({ name }) => cast(name, nameOf(name), 10)),
      ...(graph.nodes as readonly NodeSpec[]).map((node) => ({
        ...node,
        ...(names.has(node.outputs[0]!) && { name: nameOf(node.outputs[0]!) }),
        inputs: node.inputs.map(nameOf),
        outputs: node.outputs.map(nameOf),
        attributes: Object.fromEntries(
          Object.entries(node.attributes ?? {}).map(([key, value]): [string, AttributeSpec] => [
            key,
            node.opType === 'Cast' && key === 'to' && 'int' in value && value.int === 1 ? { int: 10 } : value,
          ]),
        ),
      })),
      ...outer.filter(({ name }) => !isInput.has(name)).map(({ name }) => cast(nameOf(name), name, 1)),
    ],
    initializers: (graph.initializers as readonly TensorSpec[]).map((tensor) =>
      isFloat(tensor) ? { ...tensor, dtype: 'float16' as const, data: halves(tensor.data as Float32Array) } : tensor,
    ),
    inputs: graph.inputs.map(typed),
    outputs: graph.outputs.map(typed),
  };
}

const halves = (data: Float32Array): Uint16Array =>
  halfBitsOf(data.map((value) => Math.max(-MOST_HALF, Math.min(MOST_HALF, value))));
