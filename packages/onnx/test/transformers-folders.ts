/** The folders of transformers-models.ts that the pipelines of Transformers.js are tested with. */
import { readFileSync } from 'node:fs';
import type { GraphSpec as StoryGraph } from '@msd/onnx/write'; // the example's own
import { FILES } from '../../../examples/story-model/src/files.ts';
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { MERGED } from './merged.ts';
import { externalTensor } from './odd.ts';
import { storySpec } from './story.ts';
import {
  decoderGraph,
  encoderGraph,
  IMAGE,
  type ModelFolder,
  mergedDecoderGraph,
  speechGraph,
  tokenGraph,
  visionGraph,
} from './transformers-models.ts';
import {
  answerGraph,
  detectorGraph,
  embedGraph,
  finderGraph,
  halved,
  lookerGraph,
  pairGraph,
  readerGraph,
  talkerGraph,
  VOICE,
  vocoderGraph,
  voiceGraph,
} from './transformers-more.ts';

const json = (file: URL): object => JSON.parse(readFileSync(file, 'utf8')) as object;
const named = (...labels: string[]): object => ({
  id2label: Object.fromEntries(labels.entries()),
  label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
});
const bert = (architecture: string, more: object = {}): object => ({
  model_type: 'bert',
  architectures: [architecture],
  hidden_size: MERGED.width,
  ...more,
});

const t5 = {
  model_type: 't5',
  architectures: ['T5ForConditionalGeneration'],
  d_model: MERGED.width,
  d_kv: MERGED.size,
  num_heads: MERGED.heads,
  num_layers: 1,
  num_decoder_layers: 1,
  decoder_start_token_id: 0,
  pad_token_id: 0,
  eos_token_id: 1,
  is_encoder_decoder: true,
};
const gpt2 = {
  model_type: 'gpt2',
  architectures: ['GPT2LMHeadModel'],
  n_embd: MERGED.width,
  n_head: MERGED.heads,
  n_layer: 1,
  eos_token_id: 2,
  pad_token_id: 3,
};

/** Seconds of sound that the speech model takes, frames of it, and bands of a spectrogram. */
const [SECONDS, FRAMES, BANDS] = [1, 100, 16];

const whisper = {
  model_type: 'whisper',
  architectures: ['WhisperForConditionalGeneration'],
  d_model: MERGED.width,
  encoder_layers: 1,
  decoder_layers: 1,
  encoder_attention_heads: MERGED.heads,
  decoder_attention_heads: MERGED.heads,
  max_source_positions: FRAMES / 2,
  num_mel_bins: BANDS,
  decoder_start_token_id: 3,
  eos_token_id: 2,
  pad_token_id: 2,
  is_encoder_decoder: true,
};

const vision = {
  image_processor_type: 'ViTImageProcessor',
  do_resize: true,
  size: { height: IMAGE, width: IMAGE },
  resample: 2,
  do_rescale: true,
  do_normalize: true,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};

/** A word that stands for a patch of the image. */
export const IMAGE_TOKEN = 479;

export const FOLDERS: Readonly<Record<string, ModelFolder>> = {
  story: {
    config: json(FILES.config),
    generation: json(FILES.generationConfig),
    files: { 'model_q4.onnx': exact(storySpec('q4').graph) },
  },
  decoder: {
    config: gpt2,
    generation: { eos_token_id: 2, pad_token_id: 3 },
    files: { 'model_q4.onnx': decoderGraph() },
  },
  chunks: {
    config: { ...gpt2, 'transformers.js_config': { use_external_data_format: { 'model_q4.onnx': 2 } } },
    generation: { eos_token_id: 2, pad_token_id: 3 },
    files: inChunks('model_q4.onnx', decoderGraph(), 2),
  },
  embedder: { config: bert('BertModel'), files: { 'model_q4.onnx': encoderGraph() } },
  classifier: {
    config: bert('BertForSequenceClassification', named('sad', 'glad', 'dull')),
    files: { 'model_q4.onnx': encoderGraph({ classes: 3 }) },
  },
  entailment: {
    config: bert('BertForSequenceClassification', named('contradiction', 'neutral', 'entailment')),
    files: { 'model_q4.onnx': encoderGraph({ classes: 3 }) },
  },
  tagger: {
    config: bert('BertForTokenClassification', named('O', 'B-PER', 'B-LOC')),
    files: { 'model_q4.onnx': tokenGraph(3) },
  },
  answerer: { config: bert('BertForQuestionAnswering'), files: { 'model_q4.onnx': answerGraph() } },
  guesser: {
    config: bert('BertForMaskedLM'),
    // A word of the story model's.
    tokenizer: { mask_token: '<unk>' },
    files: { 'model_q4.onnx': tokenGraph(480) },
  },
  pairs: {
    config: { model_type: 'clip', architectures: ['CLIPModel'] },
    preprocessor: { ...vision, image_processor_type: 'CLIPImageProcessor', processor_class: 'CLIPProcessor' },
    files: { 'model_q4.onnx': pairGraph() },
  },
  finder: {
    config: { model_type: 'owlvit', architectures: ['OwlViTForObjectDetection'] },
    preprocessor: { ...vision, image_processor_type: 'OwlViTImageProcessor', processor_class: 'OwlViTProcessor' },
    files: { 'model_q4.onnx': finderGraph() },
  },
  translator: {
    config: t5,
    generation: { decoder_start_token_id: 0, eos_token_id: 1, pad_token_id: 0 },
    files: {
      'encoder_model.onnx': encoderGraph({ products: 'fp32', hasTypes: false }),
      'encoder_model_q4.onnx': encoderGraph({ hasTypes: false }),
      'decoder_model_merged_q4.onnx': mergedDecoderGraph('same'),
    },
  },
  speech: {
    config: whisper,
    generation: { decoder_start_token_id: 3, eos_token_id: 2, pad_token_id: 2, is_multilingual: false },
    preprocessor: {
      feature_extractor_type: 'WhisperFeatureExtractor',
      processor_class: 'WhisperProcessor',
      chunk_length: SECONDS,
      feature_size: BANDS,
      hop_length: 160,
      n_fft: 400,
      n_samples: 16000 * SECONDS,
      nb_max_frames: FRAMES,
      sampling_rate: 16000,
    },
    tokenizer: { tokenizer_class: 'WhisperTokenizer' },
    files: { 'encoder_model_q4.onnx': speechGraph(BANDS), 'decoder_model_merged_q4.onnx': mergedDecoderGraph('empty') },
  },
  pictures: {
    config: { model_type: 'vit', architectures: ['ViTForImageClassification'], ...named('cat', 'hat', 'mat') },
    preprocessor: vision,
    files: { 'model_q4.onnx': visionGraph(3) },
  },
  voice: {
    config: { model_type: 'vits', architectures: ['VitsModel'], sampling_rate: 16000 },
    files: { 'model_q4.onnx': voiceGraph() },
  },
  talker: {
    config: {
      model_type: 'speecht5',
      architectures: ['SpeechT5ForTextToSpeech'],
      hidden_size: MERGED.width,
      encoder_layers: 1,
      decoder_layers: 1,
      encoder_attention_heads: MERGED.heads,
      decoder_attention_heads: MERGED.heads,
      num_mel_bins: VOICE.bands,
      reduction_factor: VOICE.frames,
      is_encoder_decoder: true,
    },
    preprocessor: {
      feature_extractor_type: 'SpeechT5FeatureExtractor',
      processor_class: 'SpeechT5Processor',
      sampling_rate: 16000,
    },
    files: {
      'encoder_model_q4.onnx': readerGraph(),
      'decoder_model_merged_q4.onnx': talkerGraph(),
    },
  },
  vocoder: {
    config: { model_type: 'hifigan', architectures: ['SpeechT5HifiGan'] },
    files: { 'model_q4.onnx': vocoderGraph() },
  },
  detector: {
    config: { model_type: 'detr', architectures: ['DetrForObjectDetection'], ...named('cat', 'hat', 'mat') },
    preprocessor: { ...vision, image_processor_type: 'DetrImageProcessor' },
    files: { 'model_q4.onnx': detectorGraph(3) },
  },
  captioner: {
    config: {
      model_type: 'vision-encoder-decoder',
      architectures: ['VisionEncoderDecoderModel'],
      encoder: { model_type: 'vit' },
      decoder: { ...t5, model_type: 'trocr', decoder_layers: 1, decoder_attention_heads: MERGED.heads },
      decoder_start_token_id: 0,
      eos_token_id: 1,
      pad_token_id: 0,
      is_encoder_decoder: true,
    },
    generation: { decoder_start_token_id: 0, eos_token_id: 1, pad_token_id: 0 },
    preprocessor: vision,
    files: {
      'encoder_model_q4.onnx': lookerGraph('last_hidden_state'),
      'decoder_model_merged_q4.onnx': mergedDecoderGraph('same'),
    },
  },
  onlooker: {
    config: {
      model_type: 'llava',
      architectures: ['LlavaForConditionalGeneration'],
      image_token_index: IMAGE_TOKEN,
      text_config: {
        model_type: 'llama',
        hidden_size: MERGED.width,
        num_attention_heads: MERGED.heads,
        num_key_value_heads: MERGED.heads,
        num_hidden_layers: 1,
        head_dim: MERGED.size,
      },
      eos_token_id: 2,
      pad_token_id: 3,
    },
    generation: { eos_token_id: 2, pad_token_id: 3 },
    preprocessor: vision,
    files: {
      'vision_encoder_q4.onnx': lookerGraph('image_features'),
      'embed_tokens_q4.onnx': embedGraph(),
      'decoder_model_merged_q4.onnx': decoderGraph('q4', true),
    },
  },
  formats: {
    config: gpt2,
    generation: { eos_token_id: 2, pad_token_id: 3 },
    files: {
      // What the codes of the second one stand for.
      'model.onnx': decoderGraph('q8 as floats'),
      'model_quantized.onnx': decoderGraph('q8'),
      'model_fp16.onnx': halved(decoderGraph('fp32')),
      'model_q4f16.onnx': halved(decoderGraph('q4')),
    },
  },
};

/** Without the leave to round activations to 8 bits, which native code makes use of. */
function exact(graph: StoryGraph): GraphSpec {
  const nodes = (graph.nodes as readonly NodeSpec[]).map(
    ({ attributes: { accuracy_level, ...rest } = {}, ...node }) => ({
      ...node,
      attributes: rest,
    }),
  );
  return { ...graph, nodes, initializers: graph.initializers as readonly TensorSpec[] };
}

/** The files of a model whose weights lie in `count` files beside it. */
function inChunks(file: string, graph: GraphSpec, count: number): Record<string, Uint8Array> {
  const chunks = Array.from({ length: count }, (_, i) => ({
    name: `${file}_data${i === 0 ? '' : `_${i}`}`,
    parts: [] as Uint8Array[],
    length: 0,
  }));
  const initializers = (graph.initializers as readonly TensorSpec[]).map((tensor, i) => {
    const { buffer, byteOffset, byteLength } = tensor.data as ArrayBufferView;
    const elemType = { float32: 1, uint8: 2 }[tensor.dtype as string];
    if (elemType === undefined || byteLength < 256) return tensor;
    const chunk = chunks[i % count]!;
    const place = { location: chunk.name, offset: chunk.length, length: byteLength };
    chunk.parts.push(new Uint8Array(buffer, byteOffset, byteLength));
    chunk.length += byteLength;
    return { encoded: externalTensor(tensor.name, tensor.dims, place, elemType) };
  });
  const files = chunks.map(({ name, parts }) => [name, new Uint8Array(Buffer.concat(parts))] as const);
  return { [file]: writeModel({ graph: { ...graph, initializers } }), ...Object.fromEntries(files) };
}
