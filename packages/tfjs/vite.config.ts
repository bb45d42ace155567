/** The script-tag build: one file with @msd/core inside, `msd.register(tf)` on the page's global. */
import { defineConfig } from 'vite';

export default defineConfig({
  logLevel: 'warn',
  build: {
    outDir: 'dist',
    emptyOutDir: false,
    lib: { entry: 'dist/index.js', formats: ['iife'], name: 'msd', fileName: () => 'msd-tfjs.min.js' },
    rollupOptions: { external: [/^@tensorflow\//] },
  },
});
