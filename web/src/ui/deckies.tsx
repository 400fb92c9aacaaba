// The deckies: as a table, or as a map in which each is a tile. Both show what the same filter finds.

import { useMemo } from 'preact/hooks';
import { link, refine, route } from '../route';
import type { Session } from '../session';
import { countStates, shardKey } from '../swarm';
import type { HostRecord, ShardRecord } from '../wire';
import { ago, count, figure, SHARD_STATES } from '../words';
import { now } from '../session';
import { DeckyPanel } from './decky-panel';
import { Choice, failuresFirst, filterShards, hostOptions, Search, StateChips } from './filters';
import { HostTeardownButton } from './host-dialog';
import { lookOf } from './hosts';
import { narrow } from './narrow';
import { Empty, Loading, Notice } from './notice';
import { State } from './state';
import { RetryButton, TeardownButton } from './teardown-button';
import { TileMap } from './tile-map';
import { TableHead } from './table-head';
import { Window, type Place } from './window';

export function Deckies({ session }: { session: Session }) {
  const { swarm } = session;
  const { filter } = route.value;
  const all = swarm.shards.value;
  const counts = useMemo(() => countStates(filterShards(all, filter, 'state')), [all, filter]);
  const found = useMemo(() => filterShards(all, filter), [all, filter]);
  if (!session.loaded('shards') && all.length === 0) return <Loading what="deckies" />;
  const map = filter.get('view') === 'map';
  const host = swarm.host(filter.get('host') ?? '');
  const selected = swarm.shard(filter.get('decky') ?? '');
  return (
    <div class={selected === undefined ? 'with-panel' : 'with-panel open'}>
      <div class="page-body">
        <div class="page-head">
          <h1>Deckies</h1>
          <p class="muted" role="status">
            {found.length === all.length ? figure(all.length) : `${figure(found.length)} of ${figure(all.length)}`}
          </p>
          <div class="filters">
            <Search label="Name, host, address, label or error" />
            <Choice label="Any host" name="host" options={hostOptions(swarm.hosts.value)} />
            <Choice
              label="Any service"
              name="service"
              options={swarm.services.value.map((one) => [one, one] as const)}
            />
            <ViewSwitch map={map} />
          </div>
          <StateChips counts={counts} />
        </div>
        {host !== undefined && <HostCard host={host} shards={swarm.byHost.value.get(host.host_uuid) ?? []} />}
        {found.length === 0 ? (
          <Nothing any={all.length > 0} host={host} />
        ) : map ? (
          <TileMap shards={found} />
        ) : (
          <Table shards={found} />
        )}
      </div>
      {selected !== undefined && <DeckyPanel session={session} shard={selected} />}
    </div>
  );
}

function ViewSwitch({ map }: { map: boolean }) {
  return (
    <div class="segments" role="group" aria-label="Show as">
      {(['table', 'map'] as const).map((one) => {
        const on = (one === 'map') === map;
        return (
          <button
            key={one}
            type="button"
            class={on ? 'segment on' : 'segment'}
            aria-pressed={on}
            onClick={() => refine({ view: one === 'map' ? 'map' : '' })}
          >
            {one === 'map' ? 'Map' : 'Table'}
          </button>
        );
      })}
    </div>
  );
}

/** The host whose deckies are shown, when they are of one. */
function HostCard({ host, shards }: { host: HostRecord; shards: readonly ShardRecord[] }) {
  const labels = Object.entries(host.labels);
  return (
    <section class="card host-card" aria-label={`Host ${host.name}`}>
      <div class="host-card-row">
        <div>
          <h2>{host.name}</h2>
          <p class="muted">
            {[
              host.address,
              host.agent_version && `agent ${host.agent_version}`,
              count(shards.length, 'decky', 'deckies'),
            ]
              .filter(Boolean)
              .join(' · ')}
          </p>
        </div>
        <State of={lookOf(host)} />
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
          look="warn"
          title={`It was last heard ${host.last_heartbeat === null ? 'never' : ago(host.last_heartbeat, now.value)}.`}
          text="A teardown is accepted all the same, and begins when its agent is back."
        />
      )}
      {host.inventory_error && (
        <Notice
          look="warn"
          title="Its agent cannot see what runs there: what is shown is as old as each decky says."
          text={host.inventory_error}
        />
      )}
    </section>
  );
}

function Nothing({ any, host }: { any: boolean; host: HostRecord | undefined }) {
  if (!any) {
    return <Empty title="No decky is on the record.">Deckies appear here when the hosts’ agents report them.</Empty>;
  }
  const only = [...route.value.filter.keys()].every((key) => key === 'host' || key === 'view');
  return (
    <Empty title={host !== undefined && only ? `Nothing is left on ${host.name}.` : 'No decky is like that.'}>
      <a href={link('deckies')}>Show all deckies</a>
    </Empty>
  );
}

function Table({ shards }: { shards: readonly ShardRecord[] }) {
  const ranked = useMemo(() => failuresFirst(shards), [shards]);
  return (
    <div class="table deckies" role="table" aria-label="Deckies" aria-rowcount={ranked.length + 1}>
      <TableHead names={['Decky', 'Host', 'State', 'Services', 'Address', 'Changed']} buttons="Teardown" />
      <Window items={ranked} height={narrow.value ? 104 : 46} role="rowgroup">
        {(shard, index, place) => <Row key={shardKey(shard)} shard={shard} index={index} place={place} />}
      </Window>
    </div>
  );
}

/** As many as a row has room for. */
const SERVICES_SHOWN = 2;

function Services({ of }: { of: readonly string[] }) {
  const more = of.slice(SERVICES_SHOWN);
  return (
    <>
      {of.slice(0, SERVICES_SHOWN).map((service) => (
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

function Row({ shard, index, place }: { shard: ShardRecord; index: number; place: Place }) {
  const key = shardKey(shard);
  const here = route.value.filter.get('decky') === key;
  return (
    <div class={here ? 'row here' : 'row'} role="row" aria-rowindex={index + 2} style={place}>
      <span role="cell" class="cell-name">
        <button
          type="button"
          class="name plain"
          aria-expanded={here}
          onClick={() => refine({ decky: here ? '' : key })}
        >
          {shard.decky_id}
        </button>
      </span>
      <span role="cell" class="cell-host">
        <a href={link('deckies', { host: shard.host_uuid })}>{shard.host_name}</a>
      </span>
      <span role="cell" class="cell-state">
        <State of={SHARD_STATES[shard.state]} />
        {shard.last_error !== null && (
          <small class="error-line" title={shard.last_error}>
            {shard.last_error}
          </small>
        )}
      </span>
      <span role="cell" class="cell-services">
        <Services of={shard.services} />
      </span>
      <span role="cell" class="cell-ip muted number">
        {shard.decky_ip ?? '—'}
      </span>
      <span role="cell" class="cell-time muted" title={shard.updated_at}>
        {ago(shard.updated_at, now.value)}
      </span>
      <span role="cell" class="cell-act">
        <TeardownButton shard={shard} />
      </span>
    </div>
  );
}
