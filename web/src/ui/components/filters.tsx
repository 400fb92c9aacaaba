// The filter controls of the lists. The filter is kept in the address, so that a link shows the same list.

import { updateFilter, route, selectedStates } from '../../state/route';
import type { Counts } from '../../state/swarm';
import type { HostRecord, ShardState } from '../../wire';
import { formatNumber } from '../../text/format';
import { SHARD_STATES } from '../../text/labels';

export function Search({ label }: { label: string }) {
  return (
    <label class="search">
      <span class="visually-hidden">{label}</span>
      <input
        type="search"
        placeholder={label}
        value={route.value.filter.get('q') ?? ''}
        onInput={(event) => updateFilter({ q: event.currentTarget.value })}
      />
    </label>
  );
}

interface ChoiceProps {
  label: string;
  name: string;
  options: readonly (readonly [value: string, text: string])[];
}

export function Choice({ label, name, options }: ChoiceProps) {
  const value = route.value.filter.get(name) ?? '';
  const known = value === '' || options.some(([option]) => option === value);
  return (
    <label class="choice">
      <span class="visually-hidden">{label}</span>
      <select value={value} onChange={(event) => updateFilter({ [name]: event.currentTarget.value })}>
        <option value="">{label}</option>
        {!known && <option value={value}>{value}</option>}
        {options.map(([option, text]) => (
          <option key={option} value={option}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function StateChips({ counts }: { counts: Counts }) {
  const selected = selectedStates(route.value.filter);
  const toggle = (state: ShardState) => {
    const next = selected.includes(state) ? selected.filter((other) => other !== state) : [...selected, state];
    updateFilter({ state: next.join(',') });
  };
  return (
    <div class="chips" role="group" aria-label="Statuses">
      {(Object.keys(SHARD_STATES) as ShardState[]).map((state) => (
        <button
          key={state}
          type="button"
          class={`chip tone-${SHARD_STATES[state].tone}`}
          aria-pressed={selected.includes(state)}
          onClick={() => toggle(state)}
        >
          <span class="glyph" aria-hidden="true" />
          {SHARD_STATES[state].label}
          <span class="chip-count">{formatNumber(counts[state])}</span>
        </button>
      ))}
    </div>
  );
}

export const hostChoices = (hosts: readonly HostRecord[]) => hosts.map((host) => [host.host_uuid, host.name] as const);
