import { afterEach, expect, it } from 'vitest';
import { BackendUnavailableError } from '../errors.ts';
import { keepsOrder, requireSimd } from './features.ts';

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

it('tells V8 by its version, in Node and in Chromium, and from others', () => {
  const node = (v8: string) => keepsOrder({ process: { versions: { v8 } } });
  const chromium = (version: string) =>
    keepsOrder({
      navigator: {
        userAgentData: {
          brands: [
            { brand: 'Not?A_Brand', version: '8' },
            { brand: 'Chromium', version },
          ],
        },
      },
    });
  expect(['11.3.244.8-node.38', '12.4.254.21-node.56', '13.6.233.17-node.53'].map(node)).toEqual([false, false, true]);
  expect(['91', '126', '129', '130', '156'].map(chromium)).toEqual([false, false, false, true, true]);
  const bun = { process: { versions: { v8: '14.6.202.34-node.20', bun: '1.4.5' } } };
  const others = [{}, { process: {} }, { navigator: {} }, { navigator: { userAgentData: {} } }, bun];
  for (const scope of others) expect(keepsOrder(scope)).toBe(false);
});
