// A state as an icon, a word and a color, never one of them alone, with a lock if the decky or host is protected; and the
// states of many deckies as a bar.

import type { Counts } from '../../state/swarm';
import { formatNumber } from '../../text/format';
import { SHARD_STATES, type Badge } from '../../text/labels';
import type { ShardState } from '../../wire';

interface StateBadgeProps {
  badge: Badge;
  plain?: boolean;
  isProtected?: boolean | undefined;
}

export function StateBadge({ badge, plain = false, isProtected = false }: StateBadgeProps) {
  return (
    <span class={`state tone-${badge.tone}${plain ? ' plain' : ''}`}>
      <span class="glyph" aria-hidden="true" />
      {badge.label}
      {isProtected && <span class="glyph lock" role="img" aria-label="protected" title="Protected from teardowns" />}
    </span>
  );
}

const STATES = Object.entries(SHARD_STATES) as [ShardState, Badge][];

/** The number of deckies in each state, as text for screen readers and the tooltip. */
function describeCounts(counts: Counts): string {
  const present = STATES.filter(([state]) => counts[state] > 0);
  return present.length === 0
    ? 'no deckies'
    : present.map(([state, { label }]) => `${formatNumber(counts[state])} ${label}`).join(', ');
}

export function StateBar({ counts }: { counts: Counts }) {
  return (
    <span class="bar" role="img" aria-label={describeCounts(counts)} title={describeCounts(counts)}>
      {STATES.filter(([state]) => counts[state] > 0).map(([state, { tone }]) => (
        <span key={state} class={`tone-${tone}`} style={{ flexGrow: counts[state] }} />
      ))}
    </span>
  );
}
