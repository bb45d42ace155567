/** A model on the server of model-server.ts, as a page puts it there and reads what was asked for. */
import type { io } from '@tensorflow/tfjs-core';
import { inject } from 'vitest';

declare module 'vitest' {
  interface ProvidedContext {
    modelServer: string;
  }
}

/** How a file is answered. */
export interface Answer {
  readonly status?: number;
  /** Bytes that are sent at once, and how long the server waits after them. */
  readonly piece?: number;
  readonly pauseMs?: number;
  /** The connection ends there. */
  readonly breaksAt?: number;
  /** No more is sent from there on, and the connection stays open. */
  readonly stallsAt?: number;
}

/** A request for a file. */
export interface Asked {
  readonly url: string;
  readonly authorization: string;
  readonly end: 'under way' | 'sent' | 'cut off';
}

let sites = 0;

export class ModelSite {
  readonly root: string;
  readonly #name: string;

  /** @param folder of the model, below the site's own */
  constructor(folder = 'model') {
    this.#name = `site-${performance.timeOrigin}-${sites++}`;
    this.root = `${inject('modelServer')}/${this.#name}/${folder}`;
  }

  get url(): string {
    return `${this.root}/model.json`;
  }

  async put(path: string, body: Uint8Array<ArrayBuffer> | string, answer: Answer = {}): Promise<void> {
    const { status } = await fetch(`${this.root}/${path}`, {
      method: 'PUT',
      body,
      headers: { 'x-answer': JSON.stringify(answer) },
    });
    if (status !== 204) throw new Error(`PUT ${path}: ${status}`);
  }

  /** @param shards where, and how many bytes in each */
  async putModel(
    artifacts: io.ModelArtifacts,
    size: number,
    { prefix = '', ...answer }: Answer & { prefix?: string } = {},
  ): Promise<string[]> {
    const { weightData, weightSpecs, ...rest } = artifacts;
    const data = new Uint8Array(weightData as ArrayBuffer);
    const names = Array.from({ length: Math.ceil(data.length / size) }, (_, i) => `group1-shard${i + 1}.bin`);
    await this.put(
      'model.json',
      JSON.stringify({ ...rest, weightsManifest: [{ paths: names, weights: weightSpecs }] }),
    );
    for (const [i, name] of names.entries())
      await this.put(prefix + name, data.slice(i * size, (i + 1) * size), answer);
    return names;
  }

  /** Requests so far, in order. */
  async asked(): Promise<Asked[]> {
    const response = await fetch(`${inject('modelServer')}/${this.#name}/asked`);
    return (await response.json()) as Asked[];
  }

  /** The same, without the site's name: to compare two. */
  async paths(): Promise<string[]> {
    return (await this.asked()).map(
      ({ url, authorization }) => `${url.replace(`/${this.#name}/`, '')} ${authorization}`,
    );
  }
}
