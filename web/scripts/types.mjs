// Makes src/wire.ts, the types of the messages, from schemas/json: the contract is written once, in the Rust types that those
// are made from.

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { compile } from 'json-schema-to-typescript';

const schemas = new URL('../../schemas/json/', import.meta.url);
const target = new URL('../src/wire.ts', import.meta.url);

// Each schema repeats the definitions that it uses: put together, each is there once.
const $defs = {};
for (const file of (await readdir(schemas)).sort()) {
  const schema = JSON.parse(await readFile(new URL(file, schemas), 'utf8'));
  const { $defs: shared = {}, $id, $schema, title: words, ...message } = schema;
  const title = pascal(words);
  // A message may be called as a part of it is.
  const named = { ...shared, [title in shared ? `${title}Message` : title]: message };
  for (const [name, definition] of Object.entries(named)) {
    if (name in $defs && JSON.stringify($defs[name]) !== JSON.stringify(definition)) {
      throw new Error(`${file} defines ${name} otherwise than a schema before it: make both the same in schemas/`);
    }
    $defs[name] = definition;
  }
}
const all = { $id: 'Wire', type: 'object', additionalProperties: false, $defs };
const source = await compile(plain(all), 'Wire', {
  additionalProperties: false,
  bannerComment: '// Made from schemas/json by scripts/types.mjs: not to be edited.',
  unreachableDefinitions: true,
});
// What has not changed keeps its time, by which it is known whether the page has to be built.
if ((await readFile(target, 'utf8').catch(() => '')) !== source) await writeFile(target, source);

function pascal(title) {
  return title.replace(/(^| )(.)/g, (_, _space, letter) => letter.toUpperCase());
}

/** Without array limits, which would become tuples of every length, and without what is said beside a `$ref`, which would make a
 * type of its own for each place that refers to one. */
function plain(node) {
  if (Array.isArray(node)) return node.map(plain);
  if (node === null || typeof node !== 'object') return node;
  if ('$ref' in node) return { $ref: node.$ref };
  const kept = Object.entries(node).filter(([key]) => !['maxItems', 'minItems'].includes(key));
  return Object.fromEntries(kept.map(([key, value]) => [key, plain(value)]));
}
