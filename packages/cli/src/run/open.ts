/** Opens what a folder holds: a decoder, an encoder, or both. */
import { type InferenceSession, Tensor } from 'onnxruntime-web';
import { isPast } from '../models/sizes.ts';
import { UserError } from '../shared/errors.ts';
import type { ModelFile } from '../shared/layout.ts';
import { type Choice, chooseFile, chooseFiles, type Located } from '../shared/locate.ts';
import { DecoderSession, type Embed, type EncoderState } from './decoder.ts';
import { textFeeds } from './encoder.ts';
import type { ModelText } from './model-text.ts';
import type { Loader } from './session.ts';

/** A model that is asked with text. */
export type TextModel = { release(): Promise<void> } & (
  | { readonly kind: 'decoder'; readonly decoder: DecoderSession }
  | {
      readonly kind: 'both';
      readonly decoder: DecoderSession;
      /** Reads the text that the decoder answers. */
      read(text: string): Promise<EncoderState>;
    }
  | { readonly kind: 'encoder'; readonly session: InferenceSession }
);

/** Files of a model by what they are for. */
export interface WriterFiles {
  readonly all: readonly ModelFile[];
  /** Absent if it is not there, or there is no decoder for it. */
  readonly encoder: ModelFile | undefined;
  readonly merged: ModelFile | undefined;
}

/** Those that are meant. */
export function writerFiles(located: Located, choice: Choice): WriterFiles {
  const all = choice.module === undefined ? chooseFiles(located, choice) : [chooseFile(located, choice)];
  const find = (module: string): ModelFile | undefined => all.find((file) => file.module === module);
  const merged = find('decoder_model_merged');
  return { all, merged, encoder: merged && find('encoder_model') };
}

/** @throws {@link UserError} when the model is not asked with text */
export async function openWriter(
  located: Located,
  loader: Loader,
  text: ModelText,
  { all: files, encoder, merged }: WriterFiles,
): Promise<TextModel> {
  const { context } = text;
  const byModule = new Map(files.map((file) => [file.module, file]));
  if (encoder && merged) return openBoth(loader, encoder, merged, text);
  const main = merged ?? byModule.get('model') ?? onlyOne(located, files);
  const session = await loader.load(main);
  if (!session.inputNames.some(isPast)) return { kind: 'encoder', session, release: () => session.release() };
  const embedFile = session.inputNames.includes('inputs_embeds') ? byModule.get('embed_tokens') : undefined;
  const embedder = embedFile && (await loader.load(embedFile));
  const decoder = new DecoderSession(session, { context, embed: embedder && embedWith(embedder) });
  return {
    kind: 'decoder',
    decoder,
    async release() {
      await decoder.release();
      await embedder?.release();
    },
  };
}

function onlyOne({ asked }: Located, files: readonly ModelFile[]): ModelFile {
  const [only, ...others] = files;
  if (only && others.length === 0) return only;
  throw new UserError(
    `${asked} has ${files.map(({ module }) => module).join(', ')}, and none of them writes text by itself. Choose one with --module.`,
  );
}

const embedWith =
  (session: InferenceSession): Embed =>
  async (ids) => {
    const [name] = session.inputNames;
    const outputs = await session.run({
      [name!]: new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    });
    return outputs[session.outputNames[0]!]!;
  };

async function openBoth(
  loader: Loader,
  encoderFile: ModelFile,
  decoderFile: ModelFile,
  text: ModelText,
): Promise<TextModel> {
  const encoder = await loader.load(encoderFile);
  // Speech and images are refused before the decoder is loaded.
  textFeeds(encoder, text, '.');
  const decoder = new DecoderSession(await loader.load(decoderFile), { context: text.context });
  return {
    kind: 'both',
    decoder,
    async read(prompt) {
      const { ids, feeds } = textFeeds(encoder, text, prompt);
      const outputs = await encoder.run(feeds);
      const ones = new BigInt64Array(ids.length).fill(1n);
      return { hidden: outputs[encoder.outputNames[0]!]!, mask: new Tensor('int64', ones, [1, ids.length]) };
    },
    async release() {
      await decoder.release();
      await encoder.release();
    },
  };
}
