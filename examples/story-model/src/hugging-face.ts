/** The JSON files that make a folder a Hugging Face model, and the way back from tokenizer.json. */
import type { ModelConfig } from './model.ts';
import { END_ID, START_ID, UNKNOWN_ID, Vocabulary, WORD_PATTERN } from './words.ts';

/** config.json: LlamaForCausalLM. */
export function llamaConfig(config: ModelConfig): Record<string, unknown> {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    hidden_size: config.hiddenSize,
    intermediate_size: config.mlpSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    vocab_size: config.vocabSize,
    max_position_embeddings: config.context,
    rms_norm_eps: config.normEps,
    rope_theta: config.ropeTheta,
    hidden_act: 'silu',
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: true,
    bos_token_id: START_ID,
    eos_token_id: END_ID,
    torch_dtype: 'float32',
  };
}

/**
 * tokenizer.json for a word vocabulary.
 *
 * The model type is WordPiece, which with whole words only is the same as WordLevel: @huggingface/tokenizers has no
 * WordLevel. The decoder puts spaces between words, none before punctuation and none inside quotation marks.
 */
export function tokenizerJson(vocabulary: Vocabulary): Record<string, unknown> {
  const word = (id: number): string => vocabulary.words[id] as string;
  const special = [UNKNOWN_ID, START_ID, END_ID, END_ID + 1];
  const replace = (from: string, to: string): Record<string, unknown> => ({
    type: 'Replace',
    pattern: { String: from },
    content: to,
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((id) => ({
      id,
      content: word(id),
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'Split', pattern: { Regex: WORD_PATTERN }, behavior: 'Removed', invert: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: word(START_ID), type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: word(START_ID), type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: word(START_ID), type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: {
        [word(START_ID)]: { id: word(START_ID), ids: [START_ID], tokens: [word(START_ID)] },
      },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'WordPiece', prefix: '##', cleanup: false },
        { type: 'Fuse' },
        ...[...'.,!?”'].map((mark) => replace(` ${mark}`, mark)),
        replace('“ ', '“'),
      ],
    },
    model: {
      type: 'WordPiece',
      unk_token: word(UNKNOWN_ID),
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(vocabulary.words.map((text, id) => [text, id])),
    },
  };
}

/** The vocabulary of a file made by {@link tokenizerJson}. */
export function vocabularyOf(tokenizer: {
  readonly model: { readonly vocab: Readonly<Record<string, number>> };
}): Vocabulary {
  const words: string[] = [];
  for (const [word, id] of Object.entries(tokenizer.model.vocab)) words[id] = word;
  return new Vocabulary(words);
}

/** tokenizer_config.json. */
export function tokenizerConfig(config: ModelConfig): Record<string, unknown> {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    pad_token: '<pad>',
    model_max_length: config.context,
    clean_up_tokenization_spaces: false,
  };
}

/** generation_config.json. */
export function generationConfig(): Record<string, unknown> {
  return { bos_token_id: START_ID, eos_token_id: END_ID, do_sample: false };
}
