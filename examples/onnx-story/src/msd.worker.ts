/** Transformers.js on MSD. The import is all that differs; `configure` sets the threads that the page asks for. */
import { configure, formatReport, reportOf } from '@msd/onnx/transformers';
import { describeReports, isLeft } from '../../shared/describe-reports.ts';
import { serve } from './writer.ts';

serve({
  setThreads: (threads) => configure({ threads }),
  report: (generator) => {
    const reports = reportOf(generator);
    const texts = Object.entries(reports).map(([name, report]) => `${name}\n${formatReport(report)}`);
    return { report: texts.join('\n\n'), summary: describeReports(reports), isLeft: isLeft(reports) };
  },
});
