// Escapes hidden characters in text from other programs, so that the text cannot change how the text around it looks.
// The controller and the `scuttle` command do the same (schemas/src/types/escape.rs, which says which characters these
// are). schemas/tests/hidden-characters.json has the table, and the examples that both sides are tested with.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const LINE_BREAKS_AND_TABS = /[\n\r\t]/g;

/** Replaces each line break and tab with a space, and each other hidden character with an escape such as `\u{202e}`. */
export const escapeHidden = (text: string) =>
  text.replace(LINE_BREAKS_AND_TABS, ' ').replace(HIDDEN, (found) => `\\u{${found.codePointAt(0)!.toString(16)}}`);

/** Parses JSON from another program, with the hidden characters in all its texts and field names escaped. */
export function parseEscaped<T>(json: string): T {
  // Most messages have no hidden character, and a reviver takes several times as long as a plain parse.
  const hasHidden = json.includes('\\u') || /\\[nrtbf]/.test(json) || json.search(HIDDEN) !== -1;
  return JSON.parse(json, hasHidden ? escapeValue : undefined) as T;
}

function escapeValue(_name: string, value: unknown): unknown {
  if (typeof value === 'string') return escapeHidden(value);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [escapeHidden(name), inner]));
}
