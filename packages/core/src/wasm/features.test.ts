import { afterEach, expect, it } from 'vitest';
import { BackendUnavailableError } from '../errors.ts';
import { requireSimd } from './features.ts';

const engine = globalThis.WebAssembly;
const replace = (other: object): void => void Object.assign(globalThis, { WebAssembly: other });

afterEach(() => replace(engine));

it('tells a page that may not compile WebAssembly which policy it needs', () => {
  function refuse(): never {
    throw new Error('Wasm code generation disallowed by embedder');
  }
  requireSimd();
  replace({ validate: () => true, Module: refuse });
  expect(requireSimd).toThrow(BackendUnavailableError);
  expect(requireSimd).toThrow(/may not compile WebAssembly \(Wasm code .*'wasm-unsafe-eval'/);
});

it('tells an engine without SIMD apart from that', () => {
  replace({ validate: () => false });
  expect(requireSimd).toThrow(/no WebAssembly SIMD128/);
});
