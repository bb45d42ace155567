/** How users have TypeScript: strict, with the resolution of Node and with that of bundlers. */
const SHARED = ['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022,dom'];

export const typeFlags = [
  [...SHARED, '--module', 'nodenext'],
  [...SHARED, '--module', 'esnext', '--moduleResolution', 'bundler'],
];
