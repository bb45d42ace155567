/** The choices of a model, its weights, threads and tokens: what they are now, and which make sense. */
import { create, element } from '../../shared/elements.ts';
import { DTYPES, type Dtype, type FolderFiles, type ModelSource } from './protocol.ts';
import type { SharedResult } from './share.ts';

const SHIPPED_DTYPES: readonly Dtype[] = ['q4', 'q8', 'fp32'];
const MAX_THREADS = 16;
const DEFAULT_THREADS = 4;
const HUB_NAME = /^\w[\w.-]*\/\w[\w.-]*$/;
const HINTS = {
  shipped: 'The story model knows 480 words and reads at most 256 tokens: begin like one of its stories.',
  hub: 'Downloaded from huggingface.co by this browser, and kept in its cache. Chat models answer the opening like a question.',
  folder:
    'A folder in the layout of Transformers.js: config.json, tokenizer.json, onnx/model_q4.onnx. You can drop it anywhere on this page; it stays on this computer.',
} as const;

interface Folder {
  readonly name: string;
  readonly files: FolderFiles;
  readonly dtypes: readonly Dtype[];
}

/** What a loaded model depends on: with another key it has to be loaded again. */
export interface Choice {
  readonly source: ModelSource;
  readonly dtype: Dtype;
  readonly threads: number;
  readonly key: string;
}

export class Settings {
  readonly #model = element<HTMLSelectElement>('model');
  readonly #hub = element<HTMLInputElement>('hub');
  readonly #dtype = element<HTMLSelectElement>('dtype');
  readonly #threads = element<HTMLSelectElement>('threads');
  readonly #tokens = element<HTMLInputElement>('tokens');
  #folder: Folder | undefined;

  constructor() {
    const cores = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
    this.#threads.replaceChildren(...Array.from({ length: cores }, (_, i) => create('option', String(i + 1))));
    this.#threads.value = String(Math.min(DEFAULT_THREADS, Math.ceil(cores / 2))); // what onnxruntime-web takes by itself
    element('threads-hint').textContent = globalThis.crossOriginIsolated
      ? ''
      : 'One thread: browsers allow more only if the host sends the headers COOP and COEP.';
    this.#model.addEventListener('change', () => this.#showModel());
    this.#showModel();
  }

  get #kind(): ModelSource['kind'] {
    return this.#model.value as ModelSource['kind'];
  }

  set #kind(kind: ModelSource['kind']) {
    this.#model.value = kind;
    this.#showModel();
  }

  /** @throws Error that says what is missing */
  get choice(): Choice {
    const source = this.#source;
    const dtype = this.#dtype.value as Dtype;
    const threads = Number(this.#threads.value);
    const name =
      source.kind === 'folder'
        ? `${source.name} ${folderNumber(source.files)}`
        : source.kind === 'hub'
          ? source.name
          : '';
    return { source, dtype, threads, key: [source.kind, name, dtype, threads].join(' ') };
  }

  get #source(): ModelSource {
    if (this.#kind === 'shipped') return { kind: 'shipped' };
    if (this.#kind === 'hub') {
      const name = this.#hub.value.trim();
      if (!HUB_NAME.test(name))
        throw new Error(
          `“${name}” is not the name of a model on the hub. Names look like HuggingFaceTB/SmolLM2-135M-Instruct.`,
        );
      return { kind: 'hub', name };
    }
    if (!this.#folder) throw new Error('No folder is chosen. Choose one below, or drop it on this page.');
    return { kind: 'folder', name: this.#folder.name, files: this.#folder.files };
  }

  /** `undefined` forgets the one that was chosen before. */
  set folder(folder: Folder | undefined) {
    this.#folder = folder;
    if (folder) this.#kind = 'folder';
    else this.#showModel();
  }

  /** @throws Error that says what is asked for */
  get tokens(): number {
    const tokens = this.#tokens.valueAsNumber;
    const { min, max } = this.#tokens;
    if (!Number.isInteger(tokens) || tokens < Number(min) || tokens > Number(max))
      throw new Error(`Tokens: a whole number from ${min} to ${max}, please.`);
    return tokens;
  }

  /** Settings that came with a link, as far as this browser has them. */
  take({ kind, name, dtype, threads, tokens }: SharedResult): void {
    this.#kind = kind;
    if (kind === 'hub') this.#hub.value = name;
    this.#select(dtype);
    this.#threads.value = String(Math.min(Math.max(1, threads), this.#threads.options.length));
    this.#tokens.value = String(tokens);
  }

  #select(dtype: string): void {
    if ([...this.#dtype.options].some(({ value }) => value === dtype)) this.#dtype.value = dtype;
  }

  #showModel(): void {
    const kind = this.#kind;
    element('hub-label').hidden = kind !== 'hub';
    element('folder-label').hidden = kind !== 'folder';
    element('prompt-hint').textContent = HINTS[kind];
    element('another').hidden = kind !== 'shipped';
    const dtypes = kind === 'shipped' ? SHIPPED_DTYPES : kind === 'folder' ? (this.#folder?.dtypes ?? []) : DTYPES;
    const before = this.#dtype.value;
    this.#dtype.replaceChildren(...dtypes.map((dtype) => create('option', dtype)));
    this.#select(before);
  }
}

/** Two folders may have one name. */
const numbers = new WeakMap<FolderFiles, number>();
let count = 0;
function folderNumber(files: FolderFiles): number {
  const number = numbers.get(files) ?? ++count;
  numbers.set(files, number);
  return number;
}
