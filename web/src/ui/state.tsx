// A state: a sign, a word and a colour, never one alone. And many of them as a bar.

import type { ShardState } from '../wire';
import type { Counts } from '../swarm';
import { figure, SHARD_STATES, type Look } from '../words';

export function State({ of, plain = false }: { of: Look; plain?: boolean }) {
  return (
    <span class={`state look-${of.look}${plain ? ' plain' : ''}`}>
      <span class="sign" aria-hidden="true" />
      {of.word}
    </span>
  );
}

const STATES = Object.entries(SHARD_STATES) as [ShardState, Look][];

/** How many deckies are in which state, in words for who does not see the bar. */
export function countsInWords(counts: Counts): string {
  const some = STATES.filter(([state]) => counts[state] > 0);
  return some.length === 0
    ? 'no deckies'
    : some.map(([state, { word }]) => `${figure(counts[state])} ${word}`).join(', ');
}

export function Bar({ counts }: { counts: Counts }) {
  return (
    <span class="bar" role="img" aria-label={countsInWords(counts)} title={countsInWords(counts)}>
      {STATES.filter(([state]) => counts[state] > 0).map(([state, { look }]) => (
        <span key={state} class={`look-${look}`} style={{ flexGrow: counts[state] }} />
      ))}
    </span>
  );
}
