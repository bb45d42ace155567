/** Builds generated/, the model as a Hugging Face folder, from the weights in model/: `node src/export.ts`. */
import { writeModelFolder } from './model-files.ts';

for (const [name, bytes] of writeModelFolder(new URL('../generated/', import.meta.url))) {
  console.log(`generated/${name}  ${(bytes / 1e6).toFixed(2)} MB`);
}
