// The current page and its filters, kept in the address after the #. The server needs no rule for it, and a link can be
// shared with all its filters.

import { computed, signal } from '@preact/signals';
import type { ShardState } from '../wire';
import { SHARD_STATES } from '../text/labels';

export type PageName = 'overview' | 'hosts' | 'deckies' | 'operations' | 'op';

export interface Route {
  readonly page: PageName;
  /** The id of the shown operation. */
  readonly id: string;
  readonly filter: URLSearchParams;
}

const PAGES: readonly PageName[] = ['overview', 'hosts', 'deckies', 'operations', 'op'];

export function parseHash(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const [name = '', id = ''] = path.split('/', 2);
  const page = PAGES.find((known) => known === name) ?? 'overview';
  return { page, id: decode(id), filter: new URLSearchParams(query) };
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

export const route = computed(() => parseHash(hash.value));

/** The address of a page. Empty filters are left out. */
export function hrefTo(page: PageName, filter: Record<string, string> = {}, id = ''): string {
  const set = Object.entries(filter).filter(([, value]) => value !== '');
  const query = new URLSearchParams(set).toString();
  return `#/${page}${id === '' ? '' : `/${encodeURIComponent(id)}`}${query === '' ? '' : `?${query}`}`;
}

/** Changes the filter in the address, without a new entry in the browser's history. */
export function updateFilter(change: Record<string, string>): void {
  const { page, id, filter } = route.value;
  history.replaceState(null, '', hrefTo(page, { ...Object.fromEntries(filter), ...change }, id));
  hash.value = location.hash;
}

/** The shard states that the filter selects. An empty list selects all. */
export function selectedStates(filter: URLSearchParams): readonly ShardState[] {
  const selected = (filter.get('state') ?? '').split(',');
  return (Object.keys(SHARD_STATES) as ShardState[]).filter((state) => selected.includes(state));
}
