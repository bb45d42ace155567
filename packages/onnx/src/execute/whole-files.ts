/** How ONNX Runtime is told of the files beside a model that it runs whole. */

import { dataTypeBits } from '../data-types.ts';
import { countOf } from '../dims.ts';
import { wholeBytes } from '../read/arriving.ts';
import type { ModelRecord } from '../read/model.ts';
import { openSource, placeBeside } from '../read/open.ts';
import { checkFits } from './external.ts';
import type { SessionRequest } from './options.ts';

/**
 * Options for a session of the whole model. ONNX Runtime Web looks for external data only where it is told to: files beside a path
 * or URL are named here, or handed over if they were read already. One that cannot be opened is left out: nobody may need it.
 */
export async function wholeOptions(
  model: string | Uint8Array,
  { files, graph }: ModelRecord,
  request: SessionRequest,
): Promise<object> {
  checkFits('the model', largeBytes(graph));
  if (request.externalData.length > 0 || files.locations.size === 0) return request.whole;
  const externalData: { path: string; data: string | Uint8Array }[] = [];
  for (const path of files.locations) {
    const source = files.sources.get(path);
    const data = (source && wholeBytes(source)) ?? (await placeOf(model, path, request));
    if (data !== undefined) externalData.push({ path, data });
  }
  return { ...request.whole, externalData };
}

/** Bytes of initializers that lie in files. */
function largeBytes({ initializers }: ModelRecord['graph']): number {
  let bytes = 0;
  for (const { elemType, dims, storage } of initializers)
    if (storage.kind === 'external' && storage.files.sources.has(storage.location))
      bytes += (countOf(dims) * (dataTypeBits(elemType) ?? 0)) / 8;
  return bytes;
}

async function placeOf(
  model: string | Uint8Array,
  location: string,
  { download }: SessionRequest,
): Promise<string | Uint8Array | undefined> {
  try {
    const path = await placeBeside(model, location);
    if (path === undefined) return undefined;
    const source = await openSource(path, { ...download, isRead: false });
    const { bytes } = source;
    source.close();
    return bytes ?? path;
  } catch {
    return undefined;
  }
}
