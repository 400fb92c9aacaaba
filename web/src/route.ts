// Where the page is, in the address after the #: so that the server needs no rule for it, and a link can be shared with all its
// filters.

import { computed, signal } from '@preact/signals';
import type { ShardState } from './wire';
import { SHARD_STATES } from './words';

export type Place = 'overview' | 'hosts' | 'deckies' | 'operations' | 'op';

export interface Route {
  readonly place: Place;
  /** The operation that is looked at. */
  readonly id: string;
  readonly filter: URLSearchParams;
}

const PLACES: readonly Place[] = ['overview', 'hosts', 'deckies', 'operations', 'op'];

export function parse(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const [place = '', id = ''] = path.split('/', 2);
  const known = PLACES.find((one) => one === place) ?? 'overview';
  return { place: known, id: decode(id), filter: new URLSearchParams(query) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));

export const route = computed(() => parse(hash.value));

export function link(place: Place, filter: Record<string, string> = {}, id = ''): string {
  const set = Object.entries(filter).filter(([, value]) => value !== '');
  const query = new URLSearchParams(set).toString();
  return `#/${place}${id === '' ? '' : `/${encodeURIComponent(id)}`}${query === '' ? '' : `?${query}`}`;
}

/** Changes the filter in the address, without a new entry in the browser's history. */
export function refine(change: Record<string, string>): void {
  const { place, id, filter } = route.value;
  history.replaceState(null, '', link(place, { ...Object.fromEntries(filter), ...change }, id));
  hash.value = location.hash;
}

/** The states that are asked for; none: all. */
export function states(filter: URLSearchParams): readonly ShardState[] {
  const asked = (filter.get('state') ?? '').split(',');
  return (Object.keys(SHARD_STATES) as ShardState[]).filter((state) => asked.includes(state));
}
