// Finds the browser that the browser tests need, or installs it where that can be done without asking, or says how.
// Imported by vitest.config.ts for the path; run by itself before the tests.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const CANDIDATES = {
  linux: [
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome-stable',
    '/usr/bin/google-chrome',
    '/snap/bin/chromium',
    '/usr/bin/microsoft-edge',
  ],
  darwin: [
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
    '/Applications/Chromium.app/Contents/MacOS/Chromium',
    '/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge',
  ],
  win32: ['PROGRAMFILES', 'PROGRAMFILES(X86)', 'LOCALAPPDATA'].flatMap((name) => {
    const base = process.env[name];
    return base
      ? [join(base, 'Google/Chrome/Application/chrome.exe'), join(base, 'Microsoft/Edge/Application/msedge.exe')]
      : [];
  }),
};

/** How long a browser and its pages may take: on a machine that is slow and busy, playwright's own 30 s are too few. */
export const BROWSER_PATIENCE_MS = 180_000;

/** @returns {string | undefined} path of a Chromium-family browser; `MSD_CHROMIUM` overrides the search */
export function findChromium() {
  const wanted = process.env.MSD_CHROMIUM;
  if (wanted) return existsSync(wanted) ? wanted : undefined;
  return (CANDIDATES[process.platform] ?? []).find((path) => existsSync(path));
}

function installChromium() {
  const isRoot = process.getuid?.() === 0;
  if (process.platform === 'linux' && isRoot && existsSync('/usr/bin/apt-get')) {
    console.log('No Chrome or Chromium found: installing Debian’s chromium …');
    spawnSync('apt-get', ['update', '-q'], { stdio: 'ignore' });
    spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', 'chromium', 'libvulkan1'], {
      stdio: 'inherit',
    });
  }
}

if (process.argv[1]?.endsWith('find-chromium.mjs')) {
  if (!findChromium()) installChromium();
  if (!findChromium()) {
    console.error(
      'The browser tests need Chrome, Chromium or Edge, and none was found' +
        (process.env.MSD_CHROMIUM ? ` at MSD_CHROMIUM=${process.env.MSD_CHROMIUM}` : '') +
        '.\nInstall one (Debian/Ubuntu: sudo apt-get install chromium libvulkan1; macOS: brew install --cask google-chrome),' +
        '\nor set MSD_CHROMIUM to the path of its executable, then run the same command again.',
    );
    process.exit(1);
  }
}
