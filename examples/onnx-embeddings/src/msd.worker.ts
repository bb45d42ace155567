/** Transformers.js on MSD. The import is all that differs; `configure` sets the threads that the page asks for. */
import { configure, formatReport, reportOf } from '@msd/onnx/transformers';
import { describeReports, isLeft } from '../../shared/describe-reports.ts';
import { serveEncoder } from './encoder.ts';

serveEncoder({
  setThreads: (threads) => configure({ threads }),
  report: (extractor) => {
    const reports = reportOf(extractor);
    return { report: `${describeReports(reports)}\n\n${formatReport(reports)}`, isLeft: isLeft(reports) };
  },
});
