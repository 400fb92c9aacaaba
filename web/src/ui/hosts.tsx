// The hosts: whether they are heard, what runs there, and the button that takes all of it down.

import { link, route } from '../route';
import { now, type Session } from '../session';
import { countStates } from '../swarm';
import type { HostRecord, HostStatus, ShardRecord } from '../wire';
import { ago, figure, HOST_STATES, type Look } from '../words';
import { Choice, Search } from './filters';
import { HostTeardownButton } from './host-dialog';
import { narrow } from './narrow';
import { Empty, Loading } from './notice';
import { Bar, State } from './state';
import { RetryButton } from './teardown-button';
import { TableHead } from './table-head';
import { Window, type Place } from './window';

export const lookOf = (host: HostRecord): Look =>
  host.inventory_error && host.status === 'online' ? { word: 'sees nothing', look: 'warn' } : HOST_STATES[host.status];

const STATUS_RANK: Readonly<Record<HostStatus, number>> = { offline: 0, enrolled: 2, online: 2, decommissioned: 3 };

export function Hosts({ session }: { session: Session }) {
  const { swarm } = session;
  if (!session.loaded('hosts') && swarm.hosts.value.length === 0) return <Loading what="hosts" />;
  const all = swarm.hosts.value;
  const hosts = filterHosts(all, route.value.filter);
  const rank = (host: HostRecord) => {
    const failing = swarm.byHost.value.get(host.host_uuid)?.some((one) => one.state === 'teardown_failed');
    return failing === true || host.inventory_error ? Math.min(1, STATUS_RANK[host.status]) : STATUS_RANK[host.status];
  };
  const ranked = hosts.map((host) => ({ host, rank: rank(host) })).sort((a, b) => a.rank - b.rank);
  return (
    <>
      <div class="page-head">
        <h1>Hosts</h1>
        <p class="muted" role="status">
          {hosts.length === all.length ? figure(all.length) : `${figure(hosts.length)} of ${figure(all.length)}`}
        </p>
        <div class="filters">
          <Search label="Name, address or label" />
          <Choice
            label="Any status"
            name="status"
            options={(['online', 'offline', 'enrolled'] as const).map((one) => [one, HOST_STATES[one].word] as const)}
          />
        </div>
      </div>
      {hosts.length === 0 ? (
        <Nothing any={all.length > 0} />
      ) : (
        <div class="table hosts" role="table" aria-label="Hosts" aria-rowcount={hosts.length + 1}>
          <TableHead names={['Host', 'Status', 'Deckies', 'Last heard', 'Agent']} buttons="Teardown" />
          <Window items={ranked} height={narrow.value ? 112 : 52} role="rowgroup">
            {({ host }, index, place) => (
              <Row
                key={host.host_uuid}
                host={host}
                index={index}
                place={place}
                shards={swarm.byHost.value.get(host.host_uuid) ?? []}
              />
            )}
          </Window>
        </div>
      )}
    </>
  );
}

function Nothing({ any }: { any: boolean }) {
  return any ? (
    <Empty title="No host is like that.">
      <a href={link('hosts')}>Show all hosts</a>
    </Empty>
  ) : (
    <Empty title="No host is enrolled yet.">
      Enrol the first one with <code>scuttle enroll NAME</code>: it appears here by itself.
    </Empty>
  );
}

interface RowProps {
  host: HostRecord;
  shards: readonly ShardRecord[];
  index: number;
  place: Place;
}

function Row({ host, shards, index, place }: RowProps) {
  const counts = countStates(shards);
  return (
    <div class="row" role="row" aria-rowindex={index + 2} style={place}>
      <span role="cell" class="cell-name">
        <a class="name" href={link('deckies', { host: host.host_uuid })}>
          {host.name}
        </a>
        {host.address && <small class="muted">{host.address}</small>}
      </span>
      <span role="cell" class="cell-state" title={host.inventory_error ?? undefined}>
        <State of={lookOf(host)} />
      </span>
      <span role="cell" class="cell-bar">
        <span class="number">{figure(shards.length)}</span>
        <Bar counts={counts} />
      </span>
      <span role="cell" class="cell-time muted" title={host.last_heartbeat ?? undefined}>
        {host.last_heartbeat === null ? 'never' : heard(host)}
      </span>
      <span role="cell" class="cell-version muted">
        {host.agent_version ?? '—'}
      </span>
      <span role="cell" class="cell-act">
        <RetryButton shards={shards} where="hosts" />
        <HostTeardownButton host={host} />
      </span>
    </div>
  );
}

/** `last_heartbeat` is as old as the last listing while heartbeats come. */
const heard = (host: HostRecord) => (host.status === 'online' ? 'heard now' : ago(host.last_heartbeat!, now.value));

function filterHosts(hosts: readonly HostRecord[], filter: URLSearchParams): readonly HostRecord[] {
  const status = filter.get('status') ?? '';
  const words = (filter.get('q') ?? '').toLowerCase().split(' ').filter(Boolean);
  return hosts.filter((host) => {
    if (status !== '' && host.status !== status) return false;
    const labels = Object.entries(host.labels).flat().join(' ');
    const text = `${host.name} ${host.host_uuid} ${host.address ?? ''} ${labels}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}
