// The hosts: their status, their deckies, and the button that tears a whole host down.

import { hrefTo, route } from '../../state/route';
import { now, type Session } from '../../state/session';
import { countStates } from '../../state/swarm';
import type { HostRecord, HostStatus, ShardRecord } from '../../wire';
import { formatAge, formatNumber } from '../../text/format';
import { HOST_STATES, INVENTORY_ERROR, type Badge } from '../../text/labels';
import { Choice, Search } from '../components/filters';
import { HostTeardownButton } from './host-dialog';
import { isNarrow } from '../components/viewport';
import { Empty, Loading } from '../components/notice';
import { StateBadge, StateBar } from '../components/state-badge';
import { RetryButton } from '../components/teardown-button';
import { TableHead } from '../components/table-head';
import { VirtualList, type Position } from '../components/virtual-list';

export const hostBadge = (host: HostRecord): Badge =>
  host.inventory_error && host.status === 'online' ? INVENTORY_ERROR : HOST_STATES[host.status];

const STATUS_RANK: Readonly<Record<HostStatus, number>> = { offline: 0, enrolled: 2, online: 2, decommissioned: 3 };

export function Hosts({ session }: { session: Session }) {
  const { swarm } = session;
  if (!session.isLoaded('hosts') && swarm.hosts.value.length === 0) return <Loading what="hosts" />;
  const all = swarm.hosts.value;
  const hosts = filterHosts(all, route.value.filter);
  const rank = (host: HostRecord) => {
    const failing = swarm.shardsByHost.value.get(host.host_uuid)?.some((shard) => shard.state === 'teardown_failed');
    return failing === true || host.inventory_error ? Math.min(1, STATUS_RANK[host.status]) : STATUS_RANK[host.status];
  };
  const ranked = hosts.map((host) => ({ host, rank: rank(host) })).sort((a, b) => a.rank - b.rank);
  return (
    <>
      <div class="page-head">
        <h1>Hosts</h1>
        <p class="muted" role="status">
          {hosts.length === all.length
            ? formatNumber(all.length)
            : `${formatNumber(hosts.length)} of ${formatNumber(all.length)}`}
        </p>
        <div class="filters">
          <Search label="Name, address or label" />
          <Choice
            label="Any status"
            name="status"
            options={(['online', 'offline', 'enrolled'] as const).map(
              (status) => [status, HOST_STATES[status].label] as const,
            )}
          />
        </div>
      </div>
      {hosts.length === 0 ? (
        <EmptyList any={all.length > 0} />
      ) : (
        <div class="table hosts" role="table" aria-label="Hosts" aria-rowcount={hosts.length + 1}>
          <TableHead names={['Host', 'Status and problem', 'Deckies', 'Last seen', 'Agent']} buttons="Teardown" />
          <VirtualList items={ranked} height={isNarrow.value ? 112 : 52} role="rowgroup">
            {({ host }, index, position) => (
              <Row
                key={host.host_uuid}
                host={host}
                index={index}
                position={position}
                shards={swarm.shardsByHost.value.get(host.host_uuid) ?? []}
              />
            )}
          </VirtualList>
        </div>
      )}
    </>
  );
}

function EmptyList({ any }: { any: boolean }) {
  return any ? (
    <Empty title="No hosts match the filter.">
      <a href={hrefTo('hosts')}>Show all hosts</a>
    </Empty>
  ) : (
    <Empty title="No hosts yet.">
      Enroll the first host with <code>scuttle enroll NAME</code>. It appears here automatically.
    </Empty>
  );
}

interface RowProps {
  host: HostRecord;
  shards: readonly ShardRecord[];
  index: number;
  position: Position;
}

function Row({ host, shards, index, position }: RowProps) {
  const counts = countStates(shards);
  return (
    <div class="row" role="row" aria-rowindex={index + 2} style={position}>
      <span role="cell" class="cell-name" title={host.name}>
        <a class="name" href={hrefTo('deckies', { host: host.host_uuid })}>
          {host.name}
        </a>
        {host.address && <small class="muted">{host.address}</small>}
      </span>
      <span role="cell" class="cell-state" title={formatProblem(host)}>
        <StateBadge badge={hostBadge(host)} isProtected={host.protected} />
        {formatProblem(host) !== undefined && <small class="error-line">{formatProblem(host)}</small>}
      </span>
      <span role="cell" class="cell-bar">
        <span class="number">{formatNumber(shards.length)}</span>
        <StateBar counts={counts} />
      </span>
      <span role="cell" class="cell-time muted" title={host.last_heartbeat ?? undefined}>
        {host.last_heartbeat === null ? 'never' : formatLastSeen(host)}
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

const hasNotes = (host: HostRecord) => (host.notes ?? []).length > 0;

/** The notes of the host's agent as one text, or undefined if it has no notes. */
export const formatNotes = (host: HostRecord) => (hasNotes(host) ? host.notes!.join('; ') : undefined);

const formatProblem = (host: HostRecord) => host.inventory_error ?? formatNotes(host);

/** `last_heartbeat` is not broadcast, so for an online host it is only as recent as the last listing. */
const formatLastSeen = (host: HostRecord) =>
  host.status === 'online' ? 'just now' : formatAge(host.last_heartbeat!, now.value);

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
