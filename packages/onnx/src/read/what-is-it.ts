/**
 * Names the content of a file that is not an ONNX model: a page or a pointer instead of it, or a model of another kind.
 * Called only when reading fails.
 */
import type { ByteSource } from './source.ts';

/** Bytes that are looked at. */
const HEAD_BYTES = 512;

/** The first bytes of a source. */
export function headOf(source: ByteSource): Uint8Array {
  return source.read(0, Math.min(HEAD_BYTES, source.byteLength));
}

/** Beginnings of files, at byte `at`. */
const MAGIC: readonly { readonly at?: number; readonly text: string; readonly what: string }[] = [
  { text: 'version https://git-lfs', what: 'a Git-LFS pointer: fetch the file itself (git lfs pull)' },
  { text: 'GGUF', what: 'a GGUF model (llama.cpp)' },
  { text: 'PK\x03\x04', what: 'a zip archive (also what PyTorch and Keras save)' },
  { text: '\x80\x02', what: 'a Python pickle (PyTorch)' },
  { text: '\x80\x04', what: 'a Python pickle' },
  { text: '\x80\x05', what: 'a Python pickle' },
  { at: 4, text: 'TFL3', what: 'a TensorFlow Lite model' },
  { at: 4, text: 'ORTM', what: 'a model in ORT format' },
  { text: '\x89HDF', what: 'an HDF5 file (Keras)' },
  { text: '\x93NUMPY', what: 'a NumPy array' },
  { text: '\x1f\x8b', what: 'a gzip archive' },
  { text: '\x28\xb5\x2f\xfd', what: 'a zstd archive' },
  { text: '7z\xbc\xaf', what: 'a 7z archive' },
  { at: 8, text: '{"', what: 'a safetensors file' },
];

/**
 * What a file is, as a noun with its article; `undefined` if its first bytes do not tell.
 *
 * @param head its first bytes, some hundred of them.
 */
export function whatIsIt(head: Uint8Array): string | undefined {
  if (head.length === 0) return 'an empty file';
  const text = String.fromCharCode(...head.subarray(0, HEAD_BYTES));
  for (const { at = 0, text: magic, what } of MAGIC) if (text.startsWith(magic, at)) return what;
  if (head.every((byte) => byte === 0)) return 'nothing but zeros';
  const start = asText(head)?.trimStart();
  if (start === undefined) return undefined;
  if (/^<(!doctype html|html|head|body)/i.test(start))
    return `an HTML page, as servers send for a wrong path: ${shown(start)}`;
  if (start.startsWith('<')) return `XML or HTML: ${shown(start)}`;
  if (/^[{[]/.test(start)) return `JSON: ${shown(start)}`;
  return `text: ${shown(start)}`;
}

/** Bytes as text, if they are that. */
function asText(head: Uint8Array): string | undefined {
  if (head.some((byte) => byte < 9 || (byte > 13 && byte < 32))) return undefined;
  try {
    // A character may be cut at the end.
    return new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array(head), { stream: true });
  } catch {
    return undefined;
  }
}

function shown(text: string): string {
  const line = text.replace(/\s+/g, ' ').slice(0, 80);
  return `"${line}${text.length > 80 ? '…' : ''}"`;
}
