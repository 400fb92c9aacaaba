// What is looked for: kept in the address, so that a link shows the same.

import { refine, route, states } from '../route';
import type { Counts } from '../swarm';
import type { HostRecord, ShardRecord, ShardState } from '../wire';
import { figure, RANK, SHARD_STATES } from '../words';

export function Search({ label }: { label: string }) {
  return (
    <label class="search">
      <span class="unseen">{label}</span>
      <input
        type="search"
        placeholder={label}
        value={route.value.filter.get('q') ?? ''}
        onInput={(event) => refine({ q: event.currentTarget.value })}
      />
    </label>
  );
}

interface ChoiceProps {
  label: string;
  name: string;
  options: readonly (readonly [value: string, words: string])[];
}

export function Choice({ label, name, options }: ChoiceProps) {
  const value = route.value.filter.get(name) ?? '';
  const known = value === '' || options.some(([one]) => one === value);
  return (
    <label class="choice">
      <span class="unseen">{label}</span>
      <select value={value} onChange={(event) => refine({ [name]: event.currentTarget.value })}>
        <option value="">{label}</option>
        {!known && <option value={value}>{value}</option>}
        {options.map(([one, words]) => (
          <option key={one} value={one}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}

export function StateChips({ counts }: { counts: Counts }) {
  const chosen = states(route.value.filter);
  const toggle = (state: ShardState) => {
    const next = chosen.includes(state) ? chosen.filter((one) => one !== state) : [...chosen, state];
    refine({ state: next.join(',') });
  };
  return (
    <div class="chips" role="group" aria-label="States">
      {(Object.keys(SHARD_STATES) as ShardState[]).map((state) => (
        <button
          key={state}
          type="button"
          class={`chip look-${SHARD_STATES[state].look}`}
          aria-pressed={chosen.includes(state)}
          onClick={() => toggle(state)}
        >
          <span class="sign" aria-hidden="true" />
          {SHARD_STATES[state].word}
          <span class="chip-count">{figure(counts[state])}</span>
        </button>
      ))}
    </div>
  );
}

export const hostOptions = (hosts: readonly HostRecord[]) => hosts.map((host) => [host.host_uuid, host.name] as const);

/** The shards that a filter asks for. `but` leaves one part of it out. */
export function filterShards(shards: readonly ShardRecord[], filter: URLSearchParams, but?: 'state'): ShardRecord[] {
  const host = filter.get('host') ?? '';
  const service = filter.get('service') ?? '';
  const words = (filter.get('q') ?? '').toLowerCase().split(' ').filter(Boolean);
  const wanted = but === 'state' ? [] : states(filter);
  const found: ShardRecord[] = [];
  for (const shard of shards) {
    if (host !== '' && shard.host_uuid !== host) continue;
    if (service !== '' && !shard.services.includes(service)) continue;
    if (wanted.length > 0 && !wanted.includes(shard.state)) continue;
    if (words.length > 0 && !matches(shard, words)) continue;
    found.push(shard);
  }
  return found;
}

export function failuresFirst(shards: readonly ShardRecord[]): ShardRecord[] {
  const ranks: ShardRecord[][] = [[], [], [], []];
  for (const shard of shards) ranks[RANK[shard.state]]!.push(shard);
  return ranks.flat();
}

function matches(shard: ShardRecord, words: readonly string[]): boolean {
  const labels = Object.entries(shard.labels).flat().join(' ');
  const error = shard.last_error ?? '';
  const text =
    `${shard.decky_id} ${shard.host_name} ${shard.host_uuid} ${shard.decky_ip ?? ''} ${shard.services.join(' ')} ${labels} ${error}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
