// The public surface of every package as text that a review can diff: api/<package>.d.ts lists each entry of `exports` with the
// declarations that it exports, sorted, comments left out. `npm run api` writes them; `npm run check:packages` compares.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const HEADER = '// Written by scripts/api-report.mjs: `npm run api`. Not for compilers.\n';

/** Top-level statements of a .d.ts as tsc writes it: each starts in the first column and ends before the next one that does. */
function statements(text) {
  const bare = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const found = [];
  for (const line of bare.split('\n')) {
    if (line.trim() === '') continue;
    if (/^[\s})\]|&]/.test(line) && found.length) found[found.length - 1] += `\n${line}`;
    else found.push(line);
  }
  return found;
}

const NAME = /^export (?:declare )?(?:abstract )?(?:class|function|interface|type|const|let|enum) (\w+)/;
const FROM = /^export (type )?(\*|\{[^}]*\})(?: from ['"](.+)['"])?;?$/;

/** Declarations that a .d.ts exports, by the name that importers see. Overloads of one function are one entry. */
function exportsOf(file, cache = new Map()) {
  const known = cache.get(file);
  if (known) return known;
  const names = new Map();
  const locals = new Map();
  cache.set(file, names);
  for (const statement of statements(readFileSync(file, 'utf8'))) {
    const flat = statement.replace(/\s*\n\s*/g, ' ');
    const local = flat.match(
      /^(?:export )?(?:declare )?(?:abstract )?(?:class|function|interface|type|const|let|enum) (\w+)/,
    );
    if (local) locals.set(local[1], [...(locals.get(local[1]) ?? []), statement]);
    const named = statement.match(NAME);
    const list = flat.match(FROM);
    if (named) names.set(named[1], locals.get(named[1]));
    else if (list) {
      const [, , what, from] = list;
      const isOwn = from?.startsWith('.');
      const target = isOwn && exportsOf(join(dirname(file), from.replace(/\.[jt]s$/, '.d.ts')), cache);
      if (what === '*') {
        if (target) for (const [name, text] of target) names.set(name, text);
        else names.set(`* from ${from}`, [statement]);
        continue;
      }
      for (const item of what.slice(1, -1).split(',')) {
        const [inner, outer = inner] = item
          .trim()
          .replace(/^type /, '')
          .split(' as ');
        if (inner)
          names.set(
            outer,
            (target ? target.get(inner) : locals.get(inner)) ?? [`export { ${item.trim()} } from '${from}';`],
          );
      }
    } else if (flat.startsWith('export default')) names.set('default', [statement]);
  }
  return names;
}

function report(folder) {
  const { name, exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const parts = [HEADER];
  for (const [entry, target] of Object.entries(exports)) {
    if (typeof target !== 'object' || !target.types) continue;
    const file = join(folder, target.types);
    if (!existsSync(file)) throw new Error(`${file} is missing: npm run build`);
    parts.push(`\n// ${join(name, entry)}\n`);
    for (const [, text] of [...exportsOf(file)].sort(([a], [b]) => (a < b ? -1 : 1)))
      parts.push(`${text.join('\n')}\n`);
  }
  return parts.join('\n');
}

/** Writes the reports, or with `check` compares them. @returns the files that differ */
export function apiReports({ check }) {
  mkdirSync('api', { recursive: true });
  const differing = [];
  for (const name of readdirSync('packages')) {
    const folder = join('packages', name);
    const manifest = join(folder, 'package.json');
    if (!existsSync(manifest) || JSON.parse(readFileSync(manifest, 'utf8')).private) continue;
    const path = join('api', `${name}.d.ts`);
    const text = report(folder);
    if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
    differing.push(path);
    if (!check) writeFileSync(path, text);
  }
  return differing;
}

if (process.argv[1]?.endsWith('api-report.mjs')) {
  const changed = apiReports({ check: process.argv.includes('--check') });
  for (const path of changed) console.log(path);
  if (changed.length && process.argv.includes('--check')) {
    console.error('The public surface differs from its report: npm run api, and review the diff.');
    process.exit(1);
  }
}
