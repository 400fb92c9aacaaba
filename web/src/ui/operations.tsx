// The operations, newest first.

import { useMemo } from 'preact/hooks';
import { link, route } from '../route';
import { now, type Session } from '../session';
import type { OperationRecord, OperationState } from '../wire';
import { ago, figure, length, OPERATION_STATES, target } from '../words';
import { Choice, hostOptions, Search } from './filters';
import { narrow } from './narrow';
import { Empty, Loading } from './notice';
import { State } from './state';
import { TableHead } from './table-head';
import { Window, type Place } from './window';

const STATES: readonly (readonly [string, string])[] = [
  ['open', 'open'],
  ['ended badly', 'failed or timed out'],
  ...(Object.keys(OPERATION_STATES) as OperationState[]).map((state) => [state, OPERATION_STATES[state].word] as const),
];

export function Operations({ session }: { session: Session }) {
  const { swarm } = session;
  const { filter } = route.value;
  const all = swarm.operations.value;
  const found = useMemo(() => all.filter(wanted(filter)), [all, filter]);
  if (!session.loaded('operations') && all.length === 0) return <Loading what="operations" />;
  return (
    <>
      <div class="page-head">
        <h1>Operations</h1>
        <p class="muted" role="status">
          {found.length === all.length ? figure(all.length) : `${figure(found.length)} of ${figure(all.length)}`}
        </p>
        <div class="filters">
          <Search label="Host, decky, person, reason or error" />
          <Choice label="Any host" name="host" options={hostOptions(swarm.hosts.value)} />
          <Choice label="Any state" name="state" options={STATES} />
        </div>
      </div>
      {found.length === 0 ? (
        <Nothing any={all.length > 0} />
      ) : (
        <div class="table operations" role="table" aria-label="Operations" aria-rowcount={found.length + 1}>
          <TableHead names={['Teardown of', 'State', 'Asked by', 'Asked', 'Took', 'Deckies']} />
          <Window items={found} height={narrow.value ? 92 : 46} role="rowgroup">
            {(one, index, place) => <Row key={one.operation_id} one={one} index={index} place={place} />}
          </Window>
        </div>
      )}
    </>
  );
}

function Nothing({ any }: { any: boolean }) {
  return any ? (
    <Empty title="No operation is like that.">
      <a href={link('operations')}>Show all operations</a>
    </Empty>
  ) : (
    <Empty title="Nothing was torn down yet.">Each teardown is kept here for 30 days, with what became of it.</Empty>
  );
}

function Row({ one, index, place }: { one: OperationRecord; index: number; place: Place }) {
  const { removed, absent, failed, pending } = one.counts;
  const end = one.finished_at === null ? now.value : Date.parse(one.finished_at);
  return (
    <div class="row" role="row" aria-rowindex={index + 2} style={place}>
      <span role="cell" class="cell-name">
        <a class="name" href={link('op', {}, one.operation_id)}>
          {target(one)}
        </a>
      </span>
      <span role="cell" class="cell-state">
        <State of={OPERATION_STATES[one.state]} />
        {one.error !== null && (
          <small class="error-line" title={one.error}>
            {one.error}
          </small>
        )}
      </span>
      <span role="cell" class="cell-who">
        {one.requested_by}
      </span>
      <span role="cell" class="cell-time muted" title={one.accepted_at}>
        {ago(one.accepted_at, now.value)}
      </span>
      <span role="cell" class="cell-took muted number">
        {length(end - Date.parse(one.accepted_at))}
      </span>
      <span role="cell" class="cell-counts number">
        {removed + absent} of {removed + absent + failed + pending}
        {failed > 0 && <span class="word look-alarm"> · {failed} failed</span>}
      </span>
    </div>
  );
}

function wanted(filter: URLSearchParams): (one: OperationRecord) => boolean {
  const host = filter.get('host') ?? '';
  const state = filter.get('state') ?? '';
  const words = (filter.get('q') ?? '').toLowerCase().split(' ').filter(Boolean);
  return (one) => {
    if (host !== '' && one.host_uuid !== host) return false;
    if (state === 'open' && one.finished_at !== null) return false;
    if (state === 'ended badly' && one.state !== 'failed' && one.state !== 'timed_out') return false;
    if (state in OPERATION_STATES && one.state !== state) return false;
    const text =
      `${one.host_name} ${one.decky_id ?? ''} ${one.requested_by} ${one.reason ?? ''} ${one.error ?? ''} ${one.operation_id}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
}
