// Compiled (never run) in an app outside the workspace that has Transformers.js, whose declarations need skipLibCheck.
import { AutoModelForCausalLM, pipeline } from '@huggingface/transformers';
import { configure, formatReport, reportOf, type SessionReport } from '@msd/onnx/transformers';
import msd from '@msd/onnx/vite';
import { defineConfig } from 'vite';

configure({ components: 1, threads: 2 });

export async function example(): Promise<string> {
  const write = await pipeline('text-generation', 'some/model', {
    dtype: 'q4',
    session_options: { executionProviders: [{ name: 'msd', components: 1 }] },
  });
  const model = await AutoModelForCausalLM.from_pretrained('some/model');
  const reports: Record<string, SessionReport> = reportOf(write);
  return `${formatReport(reports)} ${formatReport(reportOf(model))} ${reportOf(model).model?.foreignRunsPerCall}`;
}

export default defineConfig({ plugins: [msd()] });
