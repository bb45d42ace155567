/** What the pages' Vite configurations share: files of packages beside the page, and links to the project. */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';

const repository = fileURLToPath(new URL('../..', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  json: 'application/json',
  wasm: 'application/wasm',
  mjs: 'text/javascript',
  txt: 'text/plain; charset=utf-8',
};

/** The type under which a web server gives out a file. */
export const typeOf = (path: string): string =>
  TYPES[path.slice(path.lastIndexOf('.') + 1)] ?? 'application/octet-stream';

/**
 * Serves files that are not part of the page's sources, and copies them when it is built.
 *
 * @param files by their path below the page's own
 * @throws Error when one is missing
 */
export function packageFiles(files: ReadonlyMap<string, string>): Plugin {
  for (const file of files.values()) {
    if (existsSync(file)) continue;
    const name = relative(repository, file);
    throw new Error(`packageFiles: there is no ${name}. Run \`npm run build\` in the repository's root first.`);
  }
  return {
    name: 'package-files',
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = (request.url ?? '').split('?')[0]!.slice(1);
        const file = files.get(path);
        if (!file) return next();
        response.setHeader('Content-Type', typeOf(path));
        response.end(readFileSync(file));
      });
    },
    generateBundle() {
      for (const [fileName, file] of files) this.emitFile({ type: 'asset', fileName, source: readFileSync(file) });
    },
  };
}

/** The address in the root's package.json, once it has one. */
function repositoryUrl(): string | undefined {
  const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as {
    repository?: string | { url?: string };
  };
  const url = typeof manifest.repository === 'string' ? manifest.repository : manifest.repository?.url;
  return url?.replace(/^git\+/, '').replace(/\.git$/, '');
}

/**
 * Puts links in place of `<!-- links -->`: to the documents named here, which are copied beside the page as plain text so that
 * every static host can show them, and to the repository.
 *
 * @param documents what a link says, and the file's path in the repository
 */
export function projectLinks(documents: Readonly<Record<string, string>>): Plugin[] {
  const pathOf = (document: string) => `docs/${basename(dirname(document))}-${basename(document, '.md')}.txt`;
  const files = new Map(Object.values(documents).map((document) => [pathOf(document), join(repository, document)]));
  const links = Object.entries(documents).map(([text, document]) => `<a href="./${pathOf(document)}">${text}</a>`);
  const url = repositoryUrl();
  if (url) links.push(`<a href="${url}">Repository</a>`);
  links.push('<a href="https://arxiv.org/abs/2605.13915">Paper</a>');
  return [
    packageFiles(files),
    {
      name: 'project-links',
      transformIndexHtml: (html) =>
        html.replace('<!-- links -->', `<nav class="links" aria-label="About this project">${links.join(' ')}</nav>`),
    },
  ];
}
