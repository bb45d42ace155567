/**
 * `@msd/onnx/vite`: a plugin that puts `@msd/onnx/ort-web` in the place of onnxruntime-web, for Transformers.js and everybody else, in
 * pages and their workers. What runs on the server keeps its ONNX Runtime: native code, faster than WebAssembly.
 */

/** Options of the plugin. */
export interface MsdVitePluginOptions {
  /** Takes the build of ONNX Runtime without WebGPU and WebNN: 14 MB instead of 27. Default false. */
  readonly cpuOnly?: boolean;
}

interface Alias {
  readonly find: RegExp;
  readonly replacement: string;
}

/** The plugin, as far as Vite needs to know. */
export interface MsdVitePlugin {
  readonly name: string;
  readonly enforce: 'pre';
  config(): { resolve: { alias: Alias[] }; optimizeDeps: { exclude: string[] } };
  configResolved(config: {
    readonly command: 'build' | 'serve';
    readonly logger: { info(message: string): void };
  }): void;
}

/** A file of this package, as an absolute path: the packages that import it may not see this one. */
function fileOf(entry: string): string {
  const { pathname } = new URL(`./ort-web/${entry}.js`, import.meta.url);
  return decodeURIComponent(pathname).replace(/^\/(?=[A-Za-z]:\/)/, '');
}

/**
 * Makes sessions for the CPU MSD's.
 *
 * @example
 * ```ts
 * // vite.config.ts
 * import msd from '@msd/onnx/vite';
 *
 * export default { plugins: [msd()] };
 * ```
 */
export default function msd({ cpuOnly = false }: MsdVitePluginOptions = {}): MsdVitePlugin {
  const names = ['', '/webgpu', '/wasm', '/all'];
  const alias = names.map((name) => {
    const entry = cpuOnly ? 'wasm' : name.slice(1) || 'index';
    return { find: new RegExp(`^onnxruntime-web${name}$`), replacement: fileOf(entry) };
  });
  return {
    name: '@msd/onnx',
    enforce: 'pre',
    // Excluded, there is one ONNX Runtime, whichever other packages the dev server bundles, and it finds its .wasm beside it.
    config: () => ({ resolve: { alias }, optimizeDeps: { exclude: ['onnxruntime-web'] } }),
    configResolved({ command, logger }) {
      if (command !== 'serve') return;
      const build = cpuOnly ? 'its build for the CPU, ' : '';
      logger.info(
        `[@msd/onnx] onnxruntime-web is ${build}taken over: sessions for the CPU run in MSD where that is faster. reportOf(model) of @msd/onnx/transformers says which.`,
      );
    },
  };
}
