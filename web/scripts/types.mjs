// Generates src/wire.ts, the types of the messages, from schemas/json. The schemas are generated from the Rust types, so the
// wire contract is written only once.

import { readFile, readdir, writeFile } from 'node:fs/promises';
import { compile } from 'json-schema-to-typescript';

const schemas = new URL('../../schemas/json/', import.meta.url);
const target = new URL('../src/wire.ts', import.meta.url);

// Each schema file repeats the definitions that it uses. Merged, each definition occurs once.
const $defs = {};
for (const file of (await readdir(schemas)).sort()) {
  const schema = JSON.parse(await readFile(new URL(file, schemas), 'utf8'));
  const { $defs: shared = {}, $id, $schema, title: titleText, ...message } = schema;
  const title = toPascalCase(titleText);
  // A message can have the same name as one of its definitions.
  const named = { ...shared, [title in shared ? `${title}Message` : title]: message };
  for (const [name, definition] of Object.entries(named)) {
    if (name in $defs && JSON.stringify($defs[name]) !== JSON.stringify(definition)) {
      throw new Error(`${file} defines ${name} differently from an earlier schema: make both the same in schemas/`);
    }
    $defs[name] = definition;
  }
}
const root = { $id: 'Wire', type: 'object', additionalProperties: false, $defs };
const source = await compile(simplify(root), 'Wire', {
  additionalProperties: false,
  bannerComment: '// Generated from schemas/json by scripts/types.mjs. Do not edit.',
  unreachableDefinitions: true,
});
// An unchanged file keeps its modification time, by which the build decides whether to build the page again.
if ((await readFile(target, 'utf8').catch(() => '')) !== source) await writeFile(target, source);

function toPascalCase(title) {
  return title.replace(/(^| )(.)/g, (_, _space, letter) => letter.toUpperCase());
}

/** Removes array limits, which would become tuples of every length, and everything next to a `$ref`, which would become a
 * separate type for each place that refers to the definition. */
function simplify(node) {
  if (Array.isArray(node)) return node.map(simplify);
  if (node === null || typeof node !== 'object') return node;
  if ('$ref' in node) return { $ref: node.$ref };
  const entries = Object.entries(node).filter(([key]) => !['maxItems', 'minItems'].includes(key));
  return Object.fromEntries(entries.map(([key, value]) => [key, simplify(value)]));
}
