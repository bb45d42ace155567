// Copied into an empty app that has only the packed tarballs and onnxruntime-web: one quantized layer through ORT's own
// API, once by ONNX Runtime and once by MSD.
import { quantizeWeights } from '@msd/core';
import { formatReport, register, reportOf } from '@msd/onnx/register';
import { createSession } from '@msd/onnx/worker';
import { writeModel } from '@msd/onnx/write';
import * as ort from 'onnxruntime-web';

const [M, K, N] = [2, 96, 48];
const values = (length) => Float32Array.from({ length }, (_, i) => Math.sin(i + 1));
const weights = quantizeWeights(values(N * K), { N, K, format: 'int4' });
const model = writeModel({
  graph: {
    nodes: [
      {
        opType: 'MatMulNBits',
        domain: 'com.microsoft',
        inputs: ['x', 'w', 's'],
        outputs: ['y'],
        attributes: { K: { int: K }, N: { int: N }, bits: { int: 4 }, block_size: { int: 32 } },
      },
    ],
    initializers: [
      { name: 'w', dtype: 'uint8', dims: [N, K / 32, 16], data: weights.data },
      { name: 's', dtype: 'float32', dims: [N * (K / 32)], data: weights.scales },
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', K] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', N] }],
  },
});

ort.env.wasm.numThreads = 1;
register(ort);
const feeds = { x: new ort.Tensor('float32', values(M * K), [M, K]) };
const run = async (provider) => {
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const { y } = await session.run(feeds);
  return { y: y.data, report: reportOf(session) };
};
const [plain, msd] = [await run('wasm'), await run('msd')];
const error = Math.max(...plain.y.map((value, i) => Math.abs(value - msd.y[i])));
console.log(formatReport(msd.report));
if (!(error < 1e-3) || plain.y.length !== M * N) throw new Error(`outside app: largest difference ${error}`);
console.log(`Node ${process.version}: largest difference to onnxruntime-web: ${error.toExponential(1)}`);

const far = await createSession(model);
const { y } = await far.run(feeds);
await far.release();
if (`${y.data}` !== `${msd.y}`) throw new Error('outside app: a session in a Worker computes something else');
