// Firefox and WebKit for tests: started headless, each speaking the protocol that it has built in (WebDriver BiDi, WebDriver).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';

/**
 * @typedef {object} Tab a window of a browser with one page in it
 * @property {(url: string) => Promise<void>} goto waits until it has loaded
 * @property {(expression: string) => Promise<any>} evaluate value of an expression, or of the promise that it gives; what JSON can hold
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Browser
 * @property {string} version what it calls itself: `firefox 153.0`
 * @property {() => Promise<Tab>} newTab
 * @property {() => Promise<void>} close ends its processes, and removes its profile
 */

/** Firefox keeps quiet, takes its time for scripts, and asks nothing. */
const FIREFOX_PREFS = {
  'app.update.disabledForTesting': true,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.max_script_run_time': 0,
  'extensions.getAddons.cache.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.server': 'data:,',
};

const onPath = (names) =>
  (process.env.PATH ?? '')
    .split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find((path) => existsSync(path));

/** @returns {string | undefined} path of Firefox; `MSD_FIREFOX` overrides the search */
export const findFirefox = () => {
  const wanted = process.env.MSD_FIREFOX;
  if (wanted) return existsSync(wanted) ? wanted : undefined;
  const mac = '/Applications/Firefox.app/Contents/MacOS/firefox';
  return onPath(['firefox', 'firefox-esr']) ?? (existsSync(mac) ? mac : undefined);
};

/** @returns {string | undefined} path of WebKitGTK's driver (Debian, Ubuntu: webkit2gtk-driver) */
export const findWebKit = () => onPath(['WebKitWebDriver']);

/**
 * @param {string} [executable]
 * @param {Record<string, boolean | string | number>} [prefs] as in about:config
 * @returns {Promise<Browser>}
 */
export async function openFirefox(executable = findFirefox(), prefs = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'msd-firefox-'));
  const lines = Object.entries({ ...FIREFOX_PREFS, ...prefs });
  writeFileSync(
    join(profile, 'user.js'),
    lines.map((line) => `user_pref(${line.map((each) => JSON.stringify(each)).join(', ')});\n`).join(''),
  );
  const args = ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port=0'];
  const child = spawn(executable, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const close = () => ended(child).then(() => rmSync(profile, { recursive: true, force: true, maxRetries: 3 }));
  try {
    const address = await said(child, child.stderr, /listening on (ws:\S+)/);
    const send = await bidi(`${address}/session`);
    const { capabilities } = await send('session.new', { capabilities: {} });
    return {
      version: `${capabilities.browserName} ${capabilities.browserVersion}`,
      newTab: async () => firefoxTab(send, await send('browsingContext.create', { type: 'tab' })),
      close: () => send('browser.close', {}).then(close, close), // it may be gone before it answers
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function firefoxTab(send, { context }) {
  return {
    goto: (url) => send('browsingContext.navigate', { context, url, wait: 'complete' }),
    evaluate: async (expression) => {
      const asked = { expression: asJson(expression), target: { context }, awaitPromise: true };
      const { result, exceptionDetails } = await send('script.evaluate', asked);
      if (exceptionDetails) throw new Error(exceptionDetails.text);
      return result.value && JSON.parse(result.value);
    },
    close: () => send('browsingContext.close', { context }),
  };
}

/** WebKitGTK has no SharedArrayBuffer by default, not even in pages that are isolated; Safari has it there. */
export const WITH_THREADS = { JSC_useSharedArrayBuffer: '1' };

/**
 * @param {string} [executable]
 * @param {Record<string, string>} [settings] of JavaScriptCore, as variables of the environment: JSC_useWasmRelaxedSIMD
 * @returns {Promise<Browser>}
 */
export async function openWebKit(executable = findWebKit(), settings = {}) {
  const display = process.env.DISPLAY || process.env.WAYLAND_DISPLAY ? undefined : await openDisplay();
  const port = await freePort();
  const env = { ...process.env, ...display?.env, ...settings };
  // A group of its own: the browser that the driver starts does not end with it.
  const options = { env, stdio: ['ignore', 'ignore', 'inherit'], detached: true };
  const driver = spawn(executable, [`--port=${port}`], options);
  const close = async () => {
    await ended(driver, true);
    if (display) await ended(display.child);
  };
  try {
    const send = webdriver(`http://127.0.0.1:${port}`);
    await answers(send);
    const timeouts = { script: 3_600_000, pageLoad: 300_000 };
    const { sessionId, capabilities } = await send('POST', '/session', { capabilities: { alwaysMatch: { timeouts } } });
    const ask = (method, path, body) => send(method, `/session/${sessionId}${path}`, body);
    const first = await ask('GET', '/window');
    return {
      version: `${capabilities.browserName} ${capabilities.browserVersion}`,
      newTab: async () => {
        await ask('POST', '/window', { handle: first }); // the one of the last call may be closed
        // Not a tab: behind another one, a page's timers come twice a second.
        return webkitTab(ask, await ask('POST', '/window/new', { type: 'window' }));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The driver talks to one window at a time: each call chooses its own first. */
function webkitTab(ask, { handle }) {
  const inTab = async (method, path, body) => {
    await ask('POST', '/window', { handle });
    return ask(method, path, body);
  };
  return {
    goto: (url) => inTab('POST', '/url', { url }),
    evaluate: async (expression) => {
      const script = `const done = arguments[0];
        ${asJson(expression)}.then((json) => done({ json }), (error) => done({ error: String(error) }));`;
      const { json, error } = await inTab('POST', '/execute/async', { script, args: [] });
      if (error) throw new Error(error);
      return json && JSON.parse(json);
    },
    close: () => inTab('DELETE', '/window'),
  };
}

const asJson = (expression) => `(async () => JSON.stringify(await (${expression})))()`;

/** Commands of WebDriver BiDi over its socket. */
async function bidi(address) {
  const socket = new WebSocket(address);
  await once(socket, 'open');
  const waiting = new Map();
  let count = 0;
  socket.addEventListener('message', ({ data }) => {
    const { id, result, error, message } = JSON.parse(data);
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error) reject?.(new Error(`${error}: ${message}`));
    else resolve?.(result);
  });
  socket.addEventListener('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the browser has ended'));
  });
  return (method, params) =>
    new Promise((resolve, reject) => {
      waiting.set(++count, { resolve, reject });
      socket.send(JSON.stringify({ id: count, method, params }));
    });
}

/** Commands of WebDriver over HTTP: without fetch, which gives up after five minutes. */
const webdriver = (base) => async (method, path, body) => {
  const asked = request(base + path, { method, headers: { 'Content-Type': 'application/json' } });
  asked.end(body === undefined ? '' : JSON.stringify(body));
  const [response] = await once(asked, 'response');
  const { value } = JSON.parse(await text(response));
  if (value?.error) throw new Error(`${value.error}: ${value.message}`);
  return value;
};

/** A screen that nobody sees; WebKitGTK draws on one even in tests. */
async function openDisplay() {
  const child = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1024x768x24', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  return { child, env: { DISPLAY: `:${await said(child, child.stdio[3], /^(\d+)$/)}` } };
}

/** What a process says first that looks like `pattern`; all that follows is read, and thrown away. */
function said(child, stream, pattern) {
  return new Promise((resolve, reject) => {
    let all = '';
    createInterface(stream).on('line', (line) => {
      const match = pattern.exec(line);
      if (match) resolve(match[1]);
      else all += `${line}\n`;
    });
    child.on('error', reject);
    child.on('exit', (code) => reject(new Error(`${child.spawnfile} ended with ${code}: ${all}`)));
  });
}

async function ended(child, isGroup = false) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exit = once(child, 'exit');
  const kill = (signal) => (isGroup ? process.kill(-child.pid, signal) : child.kill(signal));
  kill('SIGTERM');
  const patience = setTimeout(() => kill('SIGKILL'), 5000);
  await exit;
  clearTimeout(patience);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** The driver says nothing when it is ready. */
async function answers(send) {
  for (let tries = 0; ; tries++) {
    const problem = await send('GET', '/status').then(
      () => undefined,
      (error) => error,
    );
    if (!problem) return;
    if (tries === 100) throw problem;
    await wait(100);
  }
}
