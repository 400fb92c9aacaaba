// Selects and orders the shards of a list: pure functions, without a component.

import { selectedStates } from '../../state/route';
import { explainError } from '../../text/format';
import { SHARD_RANK } from '../../text/labels';
import type { ShardRecord } from '../../wire';

/** Returns the shards that match a filter. `ignore` leaves one field of the filter out. */
export function filterShards(shards: readonly ShardRecord[], filter: URLSearchParams, ignore?: 'state'): ShardRecord[] {
  const host = filter.get('host') ?? '';
  const service = filter.get('service') ?? '';
  const words = (filter.get('q') ?? '').toLowerCase().split(' ').filter(Boolean);
  const states = ignore === 'state' ? [] : selectedStates(filter);
  return shards.filter((shard) => {
    if (host !== '' && shard.host_uuid !== host) return false;
    if (service !== '' && !shard.services.includes(service)) return false;
    if (states.length > 0 && !states.includes(shard.state)) return false;
    return words.length === 0 || matchesWords(shard, words);
  });
}

/** Orders shards by rank and keeps the order within a rank. */
export function failuresFirst(shards: readonly ShardRecord[]): ShardRecord[] {
  const ranks: ShardRecord[][] = [[], [], [], []];
  for (const shard of shards) ranks[SHARD_RANK[shard.state]]!.push(shard);
  return ranks.flat();
}

function matchesWords(shard: ShardRecord, words: readonly string[]): boolean {
  const labels = Object.entries(shard.labels).flat().join(' ');
  const text = [
    shard.decky_id,
    shard.host_name,
    shard.host_uuid,
    shard.decky_ip ?? '',
    shard.services.join(' '),
    labels,
    explainError(shard.last_error ?? ''),
  ]
    .join(' ')
    .toLowerCase();
  return words.every((word) => text.includes(word));
}
