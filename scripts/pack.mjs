// npm run pack: every package as a tarball in packs/, as `npm publish` would send it, and the line that installs them in an app.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Folders of the packages that are published. */
export const publicPackages = () =>
  readdirSync('packages')
    .map((name) => join('packages', name))
    .filter((folder) => !JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).private);

/**
 * Packs them with plain npm, which leaves versions as they stand in package.json.
 *
 * @param {string} to folder of the tarballs
 * @returns {Record<string, string>} paths of the tarballs by the packages' names
 */
export function pack(to) {
  mkdirSync(to, { recursive: true });
  const tarballs = {};
  for (const folder of publicPackages()) {
    const { status, stdout, stderr } = spawnSync('npm', ['pack', '--json', '--pack-destination', resolve(to)], {
      cwd: folder,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    });
    if (status !== 0) throw new Error(`npm pack in ${folder}: ${stderr}`);
    const packed = JSON.parse(stdout);
    // A list until npm 10, by name from npm 11 on.
    const [{ name, filename }] = Array.isArray(packed) ? packed : Object.values(packed);
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const inside = Object.entries(dependencies).find(([, version]) => version.startsWith('workspace:'));
    if (inside) throw new Error(`${name}: ${inside[0]} ${inside[1]}, which nobody outside can install`);
    tarballs[name] = join(resolve(to), filename);
  }
  return tarballs;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  rmSync('packs', { recursive: true, force: true });
  const tarballs = pack('packs');
  const line = (...names) => `  npm install ${names.map((name) => tarballs[name]).join(' ')}`;
  console.log('In your app, for Transformers.js and onnxruntime-web:');
  console.log(line('@msd/core', '@msd/onnx'));
  console.log('for TensorFlow.js:');
  console.log(line('@msd/core', '@msd/tfjs'));
  console.log(
    'For the command line, in a folder of its own (it brings an onnxruntime-web of its own), then npx msd --help:',
  );
  console.log(line('@msd/core', '@msd/onnx', '@msd/cli'));
}
