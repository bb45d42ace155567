// Run in a package's folder, after tsc: what Node loads, a few files in place of hundreds. Each entry of `exports` that has a condition
// `node` of the form ./dist/node/ENTRY.js is made of dist/ENTRY.js, and what several share or load by import() is in node/chunks. Pages
// and bundlers take the modules themselves, which they can leave out one by one.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { build } from 'vite';

const dist = resolve('dist');

/** Modules with a state of their own that tests reach into; nothing exports them to users, and `files` in package.json leaves them out. */
const FOR_TESTS = ['backends/wasm/routes', 'threads/pool'].filter((name) => existsSync(`dist/${name}.js`));

const { exports } = JSON.parse(readFileSync('package.json', 'utf8'));
const entries = Object.values(exports).flatMap(({ node }) => node?.match(/^\.\/dist\/node\/(.*)\.js$/)?.[1] ?? []);

/** A path beside `import.meta.url` is right in dist/node only if it was taken in a file of the same folder in dist. */
const inItsFolder = {
  name: 'in-its-folder',
  renderChunk(_code, { fileName, modules }) {
    for (const [id, { code }] of Object.entries(modules)) {
      const [from, folder] = [relative(dist, id), dirname(relative(dist, id))];
      if (code?.includes('import.meta.url') && dirname(fileName) !== folder)
        this.error(
          `node-bundles: ${from}, expected it in node/${folder}, got node/${fileName}. Let one entry alone import it.`,
        );
    }
  },
};

await build({
  configFile: false,
  logLevel: 'warn',
  plugins: [inItsFolder],
  build: {
    ssr: true,
    target: 'node20',
    outDir: 'dist/node',
    emptyOutDir: true,
    sourcemap: true,
    rollupOptions: {
      input: Object.fromEntries([...entries, ...FOR_TESTS].map((name) => [name, `dist/${name}.js`])),
      // One copy of each package: classes, devices and registries are the same for all of a process.
      external: (id) => !id.startsWith('.') && !isAbsolute(id),
      preserveEntrySignatures: 'strict',
      output: {
        entryFileNames: '[name].js',
        chunkFileNames: 'chunks/[name].js',
        // The maps lead to the modules in dist, which are in the package, too.
        sourcemapExcludeSources: true,
        comments: { jsdoc: false },
      },
    },
  },
});
