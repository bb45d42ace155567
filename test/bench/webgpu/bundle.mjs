// Packs the WebGPU benchmark, Node, Dawn and the peers into one folder that runs on a Linux x64 machine with a GPU and no network:
//   node test/bench/webgpu/bundle.mjs FOLDER        after `npm run build`
// FOLDER/run.sh starts it there. See docs/benchmarks.md.
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../..');
const folder = process.argv[2];
if (!folder) {
  console.error('node test/bench/webgpu/bundle.mjs FOLDER');
  process.exit(1);
}
const out = resolve(folder);
const require = createRequire(join(root, 'test/package.json'));
const packageFolder = (name) => {
  const entry = require.resolve(name);
  return entry.slice(0, entry.lastIndexOf(`node_modules/${name}/`) + `node_modules/${name}`.length);
};

await build({
  configFile: false,
  logLevel: 'error',
  build: {
    ssr: join(here, 'node.ts'),
    outDir: out,
    emptyOutDir: false,
    target: 'node22',
    rollupOptions: { external: [/^onnxruntime-web/, 'webgpu'], output: { entryFileNames: 'bench.mjs' } },
  },
  ssr: { noExternal: true },
});

// onnxruntime-web beside its .wasm, Dawn beside its library: both are found at run time.
const modules = join(out, 'node_modules');
const ort = packageFolder('onnxruntime-web');
mkdirSync(join(modules, 'onnxruntime-web/dist'), { recursive: true });
for (const name of readdirSync(join(ort, 'dist')))
  if (/^ort\.webgpu\.(min|bundle\.min)\.mjs$|asyncify\.(mjs|wasm)$|^ort\.node/.test(name))
    cpSync(join(ort, 'dist', name), join(modules, 'onnxruntime-web/dist', name));
cpSync(join(ort, 'package.json'), join(modules, 'onnxruntime-web/package.json'));
const dawn = packageFolder('webgpu');
for (const name of ['package.json', 'index.js', 'LICENSE.md', 'dist/linux-x64']) {
  mkdirSync(dirname(join(modules, 'webgpu', name)), { recursive: true });
  cpSync(join(dawn, name), join(modules, 'webgpu', name), { recursive: true });
}
for (const name of ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu'])
  cpSync(packageFolder(name), join(modules, name), {
    recursive: true,
    dereference: true,
    filter: (path) => !/\.(map|d\.ts)$/.test(path),
  });
cpSync(process.execPath, join(out, 'node'), { dereference: true }); // the Node that runs this
const { version } = JSON.parse(readFileSync(join(root, 'packages/core/package.json'), 'utf8'));
writeFileSync(
  join(out, 'run.sh'),
  `#!/bin/sh
# MSD.js ${version}, WebGPU benchmark. Needs glibc >= 2.34, libvulkan1 and the GPU's Vulkan driver.
cd "$(dirname "$0")" || exit 1
unset VK_ICD_FILENAMES
: "\${XDG_RUNTIME_DIR:=/tmp}"; export XDG_RUNTIME_DIR
# Headless NVIDIA machines have the driver, but no description that the loader finds without X: it is reached through EGL.
if [ -z "$VK_DRIVER_FILES" ] && ! ls /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json >/dev/null 2>&1 && ldconfig -p | grep -q libEGL_nvidia.so.0; then
  echo '{"file_format_version":"1.0.1","ICD":{"library_path":"libEGL_nvidia.so.0","api_version":"1.3.0"}}' > nvidia-egl.json
  export VK_DRIVER_FILES="$PWD/nvidia-egl.json"
fi
exec ./node bench.mjs "$@"
`,
);
chmodSync(join(out, 'run.sh'), 0o755);
console.log(`${out}: copy it, then ./run.sh --out result.json`);
