/** Plain Transformers.js. */
import { serve } from './writer.ts';

serve({
  setThreads() {},
  report: () => ({ report: '', summary: 'onnxruntime-web runs the whole model.', isLeft: true }),
});
