/** Firefox or WebKit for vitest's tests in pages, over the protocols of webdriver.mjs: one tab for each file of tests. */
import { playwright } from '@vitest/browser-playwright';
import { openFirefox, openWebKit, WITH_THREADS } from './webdriver.mjs';

const OPENERS = {
  /** With WebGPU on Chromium's software driver, which vitest.config.ts names; Firefox has it off on Linux. */
  firefox: () => openFirefox(undefined, { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true }),
  webkit: () => openWebKit(undefined, WITH_THREADS),
};

export type OtherBrowser = keyof typeof OPENERS;

/** @returns the browser that MSD_BROWSER names, if it is not Chromium */
export function otherBrowser(name: string | undefined): OtherBrowser | undefined {
  if (name === undefined || name === '' || name === 'chromium') return undefined;
  if (Object.hasOwn(OPENERS, name)) return name as OtherBrowser;
  throw new Error(`MSD_BROWSER expected chromium, firefox or webkit, got ${name}.`);
}

/** @returns a provider like Playwright's, which has the server's part of it */
export function webdriver(name: OtherBrowser): ReturnType<typeof playwright> {
  return {
    ...playwright(),
    name: 'webdriver',
    prewarm: undefined,
    providerFactory(project) {
      // No test here looks at the size of its window.
      project.browser?.registerCommand('__vitest_viewport' as never, async () => undefined as never);
      let browser: ReturnType<typeof openFirefox> | undefined;
      return {
        name: 'webdriver',
        supportsParallelism: false,
        getCommandsContext: () => ({}),
        async openPage(_session, url) {
          browser ??= OPENERS[name]();
          await (await (await browser).newTab()).goto(url);
        },
        async close() {
          await (await browser)?.close();
          browser = undefined;
        },
      };
    },
  };
}
