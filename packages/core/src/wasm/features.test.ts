import { afterEach, expect, it, vi } from 'vitest';
import { BackendUnavailableError } from '../errors.ts';
import { requireSimd } from './features.ts';

afterEach(() => vi.unstubAllGlobals());

it('tells a page that may not compile WebAssembly which policy it needs', () => {
  function refuse(): never {
    throw new Error('Wasm code generation disallowed by embedder');
  }
  requireSimd();
  vi.stubGlobal('WebAssembly', { validate: () => true, Module: refuse });
  expect(requireSimd).toThrow(BackendUnavailableError);
  expect(requireSimd).toThrow(/may not compile WebAssembly \(Wasm code .*'wasm-unsafe-eval'/);
});

it('tells an engine without SIMD apart from that', () => {
  vi.stubGlobal('WebAssembly', { validate: () => false });
  expect(requireSimd).toThrow(/no WebAssembly SIMD128/);
});
