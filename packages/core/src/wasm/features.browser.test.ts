/** A page whose Content-Security-Policy forbids WebAssembly, in a frame of its own. */
import { expect, it } from 'vitest';

/** What `createBackend` says in a page with a policy. */
async function errorUnder(policy: string): Promise<string> {
  const frame = document.createElement('iframe');
  const told = new Promise<string>((resolve) => {
    addEventListener('message', ({ source, data }) => {
      if (source === frame.contentWindow) resolve(String(data));
    });
  });
  const core = new URL('../index.ts', import.meta.url).href;
  frame.srcdoc = `<meta http-equiv="Content-Security-Policy" content="${policy}"><script type="module">
    globalThis.__vitest_browser_runner__ = { wrapDynamicImport: (load) => load() };
    const tell = (text) => parent.postMessage(text, '*');
    import('${core}').then(({ createBackend }) => createBackend('wasm')).then(() => tell('ok'), (error) => tell(error.name + ' ' + error.message));
  </script>`;
  document.body.append(frame);
  const text = await told;
  frame.remove();
  return text;
}

/** WebKit lets pages compile whose policy is in a `meta` element. */
const enforcesMeta = !navigator.userAgent.includes('AppleWebKit') || navigator.userAgent.includes('Chrome');

it('is told which policy it needs', async ({ skip }) => {
  skip(!enforcesMeta, 'this engine does not apply such a policy to WebAssembly');
  const scripts = `'unsafe-inline' ${location.origin}`;
  expect(await errorUnder(`script-src ${scripts}`)).toMatch(
    /^BackendUnavailableError createBackend: this page may not compile WebAssembly .*'wasm-unsafe-eval'/,
  );
  expect(await errorUnder(`script-src ${scripts} 'wasm-unsafe-eval'`)).toBe('ok');
});
