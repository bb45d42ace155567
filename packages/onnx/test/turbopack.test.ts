import { expect, it } from 'vitest';
import loader from '../src/turbopack.ts';

/** What Next.js does with it is tested with the tarballs (scripts/outside-transformers.mjs). */
it('exchanges the names of imports, and nothing else', () => {
  for (const [given, expected] of [
    [
      `import * as O from "onnxruntime-web/webgpu";import '/a'`,
      `import * as O from "@msd/onnx/ort-web/webgpu";import '/a'`,
    ],
    [`export*from'onnxruntime-web'`, `export*from'@msd/onnx/ort-web'`],
    [`await import( 'onnxruntime-web/all' )`, `await import( '@msd/onnx/ort-web/all' )`],
    [`import "onnxruntime-web/wasm"`, `import "@msd/onnx/ort-web/wasm"`],
    ['from "onnxruntime-web/jspi"; x = "onnxruntime-web"', 'from "onnxruntime-web/jspi"; x = "onnxruntime-web"'],
    [`from "onnxruntime-web'; from "onnxruntime-webx"`, `from "onnxruntime-web'; from "onnxruntime-webx"`],
    ['import "onnxruntime-web/ort-wasm-simd-threaded.wasm"', 'import "onnxruntime-web/ort-wasm-simd-threaded.wasm"'],
    ['', ''],
  ])
    expect(loader(given!)).toBe(expected);
});
