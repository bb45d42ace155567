/** A chat in a terminal: node src/chat.ts [MODEL of the hub or FOLDER] [DTYPE] */
import { stdin, stdout } from 'node:process';
import { createInterface } from 'node:readline/promises';
import { type Message, pipeline, TextStreamer } from '@huggingface/transformers';
import { reportOf } from '@msd/onnx/transformers'; // this import puts Transformers.js on MSD

const [model = 'HuggingFaceTB/SmolLM2-135M-Instruct', dtype = 'q4'] = process.argv.slice(2);
const generator = await pipeline('text-generation', model, { dtype: dtype as 'q4' }).catch((error: Error) => {
  console.error(`${model} could not be loaded with ${dtype} weights: ${error.message}`);
  console.error('Name a text model of the hub, or a folder with config.json, tokenizer.json and onnx/model_q4.onnx.');
  process.exit(1);
});
const nodes = Object.values(reportOf(generator))
  .flatMap((report) => report.nodes)
  .filter(({ region }) => region >= 0);
console.log(`${model}: MSD runs ${nodes.filter(({ where }) => where === 'msd').length} of ${nodes.length} nodes.`);

const streamer = new TextStreamer(generator.tokenizer, { skip_prompt: true });
const options = { max_new_tokens: 100, do_sample: false, add_special_tokens: true, streamer };
let messages: Message[] = [];
let isOpen = true;
const prompt = '\n> ';
const terminal = createInterface({ input: stdin, output: stdout, prompt }).once('close', () => (isOpen = false));
const ask = () => (isOpen ? terminal.prompt() : stdout.write(prompt)); // lines from a pipe may outlast it
ask();
for await (const line of terminal) {
  if (generator.tokenizer.chat_template) {
    const [answer] = await generator([...messages, { role: 'user', content: line }], options);
    messages = answer!.generated_text;
  } else await generator(line, options); // a model that was not trained to chat goes on with the text
  ask();
}
await generator.dispose();
