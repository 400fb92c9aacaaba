// Hidden characters are escaped. The table and the examples are those of the programs in Rust.

import { readFileSync } from 'node:fs';
import { expect, test } from '@playwright/test';
import { escapeHidden, parseEscaped } from '../../src/text/escape';

interface Corpus {
  hidden: [string, string][];
  examples: { text: string; shown: string }[];
}

const file = new URL('../../../schemas/tests/hidden-characters.json', import.meta.url);
const corpus = JSON.parse(readFileSync(file, 'utf8')) as Corpus;

test('exactly the characters of the corpus are hidden', () => {
  const ranges = corpus.hidden.map(([first, last]) => [parseInt(first, 16), parseInt(last, 16)] as const);
  const differing: string[] = [];
  for (let code = 0; code <= 0x10ffff; code += 1) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const isListed = ranges.some(([first, last]) => first <= code && code <= last);
    const text = String.fromCodePoint(code);
    if ((escapeHidden(text) !== text) !== isListed) differing.push(code.toString(16));
  }
  expect(differing).toEqual([]);
});

test('the examples of the corpus are shown with escapes', () => {
  for (const { text, shown } of corpus.examples) {
    expect(escapeHidden(text)).toBe(shown);
    expect(escapeHidden(shown)).toBe(shown);
  }
});

test('the texts and field names of a message are escaped, however the message spells them', () => {
  for (const { text, shown } of corpus.examples) {
    const message = { shards: [{ last_error: text, labels: { [text]: text }, revision: 7, operation_id: null }] };
    const escaped = { shards: [{ last_error: shown, labels: { [shown]: shown }, revision: 7, operation_id: null }] };
    const json = JSON.stringify(message);
    expect(parseEscaped(json)).toEqual(escaped);
    const spelledOut = json.replace(
      /[^\x20-\x7e]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    expect(parseEscaped(spelledOut)).toEqual(escaped);
  }
});
