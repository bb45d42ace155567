/** Plain Transformers.js. */
import { serveEncoder } from './encoder.ts';

serveEncoder({ setThreads() {}, report: () => ({ report: '', isLeft: true }) });
