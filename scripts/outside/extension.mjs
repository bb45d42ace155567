// A browser extension (Manifest V3) whose page runs Transformers.js, under the strict policy of extensions.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright';
import { BROWSER_PATIENCE_MS, findChromium } from '../find-chromium.mjs';
import { resultOf } from './pages.mjs';
import { pageModule, TAKEN } from './transformers-page.mjs';

const MANIFEST = {
  manifest_version: 3,
  name: 'Story',
  version: '1.0',
  content_security_policy: { extension_pages: "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'" },
};

/** Chromium names an extension that has no key by the folder that it lies in. */
const idOf = (folder) =>
  [...createHash('sha256').update(folder).digest('hex').slice(0, 32)]
    .map((digit) => String.fromCharCode(97 + Number.parseInt(digit, 16)))
    .join('');

/**
 * Builds the extension and opens its page.
 *
 * @param {string} app folder with the packages
 * @param {string} models folder of models, which the extension brings along
 */
export async function resultInExtension(app, models) {
  const folder = join(app, 'extension');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(app, 'extension.js'), pageModule(TAKEN));
  const flags = ['--bundle', '--format=esm', '--splitting', `--outdir=${folder}`, '--log-level=error'];
  const { status } = spawnSync('npx', ['--no-install', 'esbuild', 'extension.js', ...flags], {
    cwd: app,
    stdio: 'inherit',
  });
  if (status !== 0) throw new Error(`esbuild ended with ${status}`);
  cpSync(models, join(folder, 'models'), { recursive: true });
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(MANIFEST));
  writeFileSync(
    join(folder, 'page.html'),
    '<!doctype html><meta charset="utf-8"><title></title><script type="module" src="extension.js"></script>',
  );
  const profile = mkdtempSync(join(tmpdir(), 'msd-extension-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: findChromium(),
    timeout: BROWSER_PATIENCE_MS,
    ignoreDefaultArgs: ['--disable-extensions'],
    args: [
      '--no-sandbox',
      '--disable-features=DisableLoadExtensionCommandLineSwitch',
      `--disable-extensions-except=${folder}`,
      `--load-extension=${folder}`,
    ],
  });
  context.setDefaultTimeout(BROWSER_PATIENCE_MS);
  try {
    return await resultOf(context, `chrome-extension://${idOf(realpathSync(folder))}/page.html`);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}
