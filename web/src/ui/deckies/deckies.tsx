// The deckies, as a table or as a map of tiles. Both show the deckies that match the filter.

import { useMemo } from 'preact/hooks';
import { hrefTo, updateFilter, route } from '../../state/route';
import type { Session } from '../../state/session';
import { countStates, shardKey } from '../../state/swarm';
import type { HostRecord, ShardRecord } from '../../wire';
import { explainError, formatAge, formatCount, formatNumber } from '../../text/format';
import { SHARD_STATES } from '../../text/labels';
import { now } from '../../state/session';
import { DeckyPanel } from './decky-panel';
import { failuresFirst, filterShards } from './shard-filter';
import { Choice, hostChoices, Search, StateChips } from '../components/filters';
import { HostTeardownButton } from '../hosts/host-dialog';
import { hostBadge } from '../hosts/hosts';
import { isNarrow } from '../components/viewport';
import { Empty, Loading, NoDeckies, Notice } from '../components/notice';
import { StateBadge } from '../components/state-badge';
import { RetryButton, TeardownButton } from '../components/teardown-button';
import { TileMap } from './tile-map';
import { TableHead } from '../components/table-head';
import { VirtualList, type Position } from '../components/virtual-list';

export function Deckies({ session }: { session: Session }) {
  const { swarm } = session;
  const { filter } = route.value;
  const all = swarm.shards.value;
  const counts = useMemo(() => countStates(filterShards(all, filter, 'state')), [all, filter]);
  const matching = useMemo(() => filterShards(all, filter), [all, filter]);
  if (!session.isLoaded('shards') && all.length === 0) return <Loading what="deckies" />;
  const map = filter.get('view') === 'map';
  const host = swarm.host(filter.get('host') ?? '');
  const selected = swarm.shard(filter.get('decky') ?? '');
  return (
    <div class={selected === undefined ? 'with-panel' : 'with-panel open'}>
      <div class="page-body">
        <div class="page-head">
          <h1>Deckies</h1>
          <p class="muted" role="status">
            {matching.length === all.length
              ? formatNumber(all.length)
              : `${formatNumber(matching.length)} of ${formatNumber(all.length)}`}
          </p>
          <div class="filters">
            <Search label="Name, host, address, label or problem" />
            <Choice label="Any host" name="host" options={hostChoices(swarm.hosts.value)} />
            <Choice
              label="Any service"
              name="service"
              options={swarm.services.value.map((service) => [service, service] as const)}
            />
            <ViewSwitch map={map} />
          </div>
          <StateChips counts={counts} />
        </div>
        {host !== undefined && <HostCard host={host} shards={swarm.shardsByHost.value.get(host.host_uuid) ?? []} />}
        {matching.length === 0 ? (
          <EmptyList any={all.length > 0} hosts={swarm.hosts.value} host={host} />
        ) : map ? (
          <TileMap shards={matching} />
        ) : (
          <Table shards={matching} />
        )}
      </div>
      {selected !== undefined && <DeckyPanel session={session} shard={selected} />}
    </div>
  );
}

function ViewSwitch({ map }: { map: boolean }) {
  return (
    <div class="segments" role="group" aria-label="View">
      {(['table', 'map'] as const).map((view) => {
        const on = (view === 'map') === map;
        return (
          <button
            key={view}
            type="button"
            class={on ? 'segment on' : 'segment'}
            aria-pressed={on}
            onClick={() => updateFilter({ view: view === 'map' ? 'map' : '' })}
          >
            {view === 'map' ? 'Map' : 'Table'}
          </button>
        );
      })}
    </div>
  );
}

/** The host that the filter selects, above its deckies. */
function HostCard({ host, shards }: { host: HostRecord; shards: readonly ShardRecord[] }) {
  const labels = Object.entries(host.labels);
  return (
    <section class="card host-card" aria-label={`Host ${host.name}`}>
      <div class="host-card-row">
        <div>
          <h2>{host.name}</h2>
          <p class="muted">
            {[
              host.name !== host.host_uuid && `ID ${host.host_uuid}`,
              host.address,
              host.agent_version && `agent ${host.agent_version}`,
              formatCount(shards.length, 'decky', 'deckies'),
            ]
              .filter(Boolean)
              .join(' · ')}
          </p>
        </div>
        <StateBadge badge={hostBadge(host)} isProtected={host.protected} />
        <span class="grow" />
        <RetryButton shards={shards} where="host" />
        <HostTeardownButton host={host} />
      </div>
      {labels.length > 0 && (
        <p class="tags">
          {labels.map(([key, value]) => (
            <span key={key} class="tag">
              {key}={value}
            </span>
          ))}
        </p>
      )}
      {host.status === 'offline' && (
        <Notice
          tone="warn"
          title={`Last seen: ${host.last_heartbeat === null ? 'never' : formatAge(host.last_heartbeat, now.value)}.`}
          text="Teardowns are accepted, and start when the agent is back."
        />
      )}
      {host.inventory_error && (
        <Notice
          tone="warn"
          title="The agent cannot read its inventory. Each decky is shown as last reported."
          text={host.inventory_error}
        />
      )}
      {host.notes?.map((note, index) => (
        <Notice key={index} tone="warn" title="The agent notes:" text={note} />
      ))}
    </section>
  );
}

function EmptyList({ any, hosts, host }: { any: boolean; hosts: readonly HostRecord[]; host: HostRecord | undefined }) {
  if (!any) return <NoDeckies hosts={host === undefined ? hosts : [host]} />;
  if (host?.status === 'enrolled') return <NoDeckies hosts={[host]} />;
  const hostOnly = [...route.value.filter.keys()].every((key) => key === 'host' || key === 'view');
  return (
    <Empty title={host !== undefined && hostOnly ? `No deckies left on ${host.name}.` : 'No deckies match the filter.'}>
      <a href={hrefTo('deckies')}>Show all deckies</a>
    </Empty>
  );
}

function Table({ shards }: { shards: readonly ShardRecord[] }) {
  const ranked = useMemo(() => failuresFirst(shards), [shards]);
  return (
    <div class="table deckies" role="table" aria-label="Deckies" aria-rowcount={ranked.length + 1}>
      <TableHead names={['Decky', 'Host', 'Status and problem', 'Services', 'Address', 'Changed']} buttons="Teardown" />
      <VirtualList items={ranked} height={isNarrow.value ? 104 : 46} role="rowgroup">
        {(shard, index, position) => <Row key={shardKey(shard)} shard={shard} index={index} position={position} />}
      </VirtualList>
    </div>
  );
}

/** The services that fit into a row. */
const MAX_SERVICES_SHOWN = 2;

function Services({ services }: { services: readonly string[] }) {
  const more = services.slice(MAX_SERVICES_SHOWN);
  return (
    <>
      {services.slice(0, MAX_SERVICES_SHOWN).map((service) => (
        <span key={service} class="tag">
          {service}
        </span>
      ))}
      {more.length > 0 && (
        <span class="tag" title={more.join(', ')}>
          +{more.length}
        </span>
      )}
    </>
  );
}

function Row({ shard, index, position }: { shard: ShardRecord; index: number; position: Position }) {
  const key = shardKey(shard);
  const selected = route.value.filter.get('decky') === key;
  return (
    <div class={selected ? 'row selected' : 'row'} role="row" aria-rowindex={index + 2} style={position}>
      <span role="cell" class="cell-name">
        <button
          type="button"
          class="name plain"
          title={shard.decky_id}
          aria-expanded={selected}
          onClick={() => updateFilter({ decky: selected ? '' : key })}
        >
          {shard.decky_id}
        </button>
      </span>
      <span role="cell" class="cell-host" title={shard.host_name}>
        <a href={hrefTo('deckies', { host: shard.host_uuid })}>{shard.host_name}</a>
      </span>
      <span role="cell" class="cell-state">
        <StateBadge badge={SHARD_STATES[shard.state]} isProtected={shard.protected} />
        {shard.last_error !== null && (
          <small class="error-line" title={explainError(shard.last_error)}>
            {explainError(shard.last_error)}
          </small>
        )}
      </span>
      <span role="cell" class="cell-services">
        <Services services={shard.services} />
      </span>
      <span role="cell" class="cell-ip muted number">
        {shard.decky_ip ?? '—'}
      </span>
      <span role="cell" class="cell-time muted" title={shard.updated_at}>
        {formatAge(shard.updated_at, now.value)}
      </span>
      <span role="cell" class="cell-act">
        <TeardownButton shard={shard} />
      </span>
    </div>
  );
}
