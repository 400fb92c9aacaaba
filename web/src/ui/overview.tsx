// The overview: the number of deckies in each state, what needs attention, open operations and recent events.

import { events } from '../state/event-feed';
import { hrefTo } from '../state/route';
import { now, type Session } from '../state/session';
import type { Swarm } from '../state/swarm';
import type { HostRecord, OperationRecord, ShardRecord, ShardState } from '../wire';
import { explainError, formatAge, formatCount, formatNumber, formatTarget, formatTime } from '../text/format';
import { OPERATION_STATES, SHARD_STATES } from '../text/labels';
import { formatNotes, hostBadge } from './hosts/hosts';
import { Empty, Loading, NoDeckies } from './components/notice';
import { StateBadge, StateBar } from './components/state-badge';
import { RetryButton } from './components/teardown-button';

/** Rows per list on this page. A link leads to the page with the whole list. */
const MAX_ROWS = 6;
const MAX_EVENTS_SHOWN = 40;

export function Overview({ session }: { session: Session }) {
  const { swarm } = session;
  if (!session.isLoaded('shards') && swarm.shards.value.length === 0) return <Loading what="the swarm" />;
  return (
    <div class="overview">
      <h1 class="visually-hidden">Overview</h1>
      <Figures swarm={swarm} />
      <section class="card wide-card" aria-labelledby="states">
        <div class="card-head">
          <h2 id="states">Deckies by status</h2>
          <a href={hrefTo('deckies', { view: 'map' })}>Map</a>
        </div>
        <StateCounts swarm={swarm} />
      </section>
      <div class="columns">
        <div class="column">
          <NeedsAttention swarm={swarm} />
          <OpenOperations swarm={swarm} />
        </div>
        <EventFeed />
      </div>
    </div>
  );
}

function Figures({ swarm }: { swarm: Swarm }) {
  const hosts = swarm.hosts.value;
  const online = hosts.filter((host) => host.status === 'online').length;
  const failed = swarm.failedShards.value.length;
  const open = swarm.openOperations.value;
  const queued = open.filter((operation) => operation.state === 'queued').length;
  return (
    <div class="figures">
      <Figure
        href={hrefTo('deckies', { state: 'teardown_failed,failed' })}
        name="Failed deckies"
        value={failed}
        alarm={failed > 0}
      >
        {failed === 0 ? 'none' : `${formatNumber(swarm.counts.value.teardown_failed)} with a failed teardown`}
      </Figure>
      <Figure href={hrefTo('hosts')} name="Hosts online" value={online} of={hosts.length} alarm={online < hosts.length}>
        {hosts.length === 0
          ? 'none enrolled yet'
          : online === hosts.length
            ? 'all online'
            : `${formatNumber(hosts.length - online)} not online`}
      </Figure>
      <Figure href={hrefTo('operations')} name="Open operations" value={open.length}>
        {open.length === 0 ? 'none' : `${formatNumber(open.length - queued)} running, ${formatNumber(queued)} queued`}
      </Figure>
      <Figure href={hrefTo('deckies')} name="Deckies" value={swarm.shards.value.length}>
        {`${formatNumber(swarm.counts.value.running)} running`}
      </Figure>
    </div>
  );
}

interface FigureProps {
  href: string;
  name: string;
  value: number;
  of?: number;
  alarm?: boolean;
  children: string;
}

function Figure({ href, name, value, of, alarm = false, children }: FigureProps) {
  return (
    <a class={alarm ? 'card figure alarm' : 'card figure'} href={href}>
      <span class="figure-name">{name}</span>
      <span class="figure-value">
        {formatNumber(value)}
        {of !== undefined && <small> / {formatNumber(of)}</small>}
      </span>
      <span class="figure-note muted">{children}</span>
    </a>
  );
}

function StateCounts({ swarm }: { swarm: Swarm }) {
  const counts = swarm.counts.value;
  if (swarm.shards.value.length === 0) {
    return <NoDeckies hosts={swarm.hosts.value} />;
  }
  return (
    <>
      <StateBar counts={counts} />
      <ul class="legend">
        {(Object.keys(SHARD_STATES) as ShardState[]).map((state) => (
          <li key={state}>
            <a class={counts[state] === 0 ? 'none' : ''} href={hrefTo('deckies', { state })}>
              <StateBadge badge={SHARD_STATES[state]} plain />
              <span class="number">{formatNumber(counts[state])}</span>
            </a>
          </li>
        ))}
      </ul>
    </>
  );
}

/** Failed deckies by host, and hosts that are offline, or have an inventory error or notes. */
function NeedsAttention({ swarm }: { swarm: Swarm }) {
  const failing = new Map<string, ShardRecord[]>();
  for (const shard of swarm.failedShards.value) {
    const shards = failing.get(shard.host_uuid);
    if (shards === undefined) failing.set(shard.host_uuid, [shard]);
    else shards.push(shard);
  }
  const hosts = swarm.hosts.value.filter(
    (host) => host.status === 'offline' || Boolean(host.inventory_error) || formatNotes(host) !== undefined,
  );
  const rows = [...failing.values()];
  const total = rows.length + hosts.length;
  return (
    <section class="card" aria-labelledby="attention">
      <div class="card-head">
        <h2 id="attention">Needs attention</h2>
        {total > 0 && <span class="pill alarm">{formatNumber(total)}</span>}
      </div>
      {total === 0 && <Empty title="Nothing needs attention.">Failed deckies and offline hosts appear here.</Empty>}
      <ul class="list">
        {rows.slice(0, MAX_ROWS).map((shards) => (
          <FailedRow key={shards[0]!.host_uuid} shards={shards} />
        ))}
        {hosts.slice(0, MAX_ROWS).map((host) => (
          <HostRow key={host.host_uuid} host={host} />
        ))}
      </ul>
      <div class="card-more">
        {rows.length > MAX_ROWS && (
          <a href={hrefTo('deckies', { state: 'teardown_failed,failed' })}>
            All {formatNumber(swarm.failedShards.value.length)} failed deckies
          </a>
        )}
        {hosts.length > MAX_ROWS && (
          <a href={hrefTo('hosts', { status: 'offline' })}>All {formatNumber(hosts.length)} hosts to check</a>
        )}
      </div>
    </section>
  );
}

function FailedRow({ shards }: { shards: readonly ShardRecord[] }) {
  const first = shards[0]!;
  const problem = first.last_error === null ? undefined : explainError(first.last_error);
  const retryable = shards.filter((shard) => shard.state === 'teardown_failed');
  const name =
    shards.length === 1
      ? `${first.decky_id} on ${first.host_name}`
      : `${formatCount(shards.length, 'decky', 'deckies')} on ${first.host_name}`;
  return (
    <li class="item">
      <StateBadge badge={SHARD_STATES[first.state]} />
      <div class="item-text">
        <a href={hrefTo('deckies', { host: first.host_uuid, state: 'teardown_failed,failed' })}>{name}</a>
        <p class="muted clip" title={problem}>
          {problem ?? 'no error message from the agent'}
        </p>
      </div>
      <RetryButton shards={retryable} where="overview" />
    </li>
  );
}

function HostRow({ host }: { host: HostRecord }) {
  return (
    <li class="item">
      <StateBadge badge={hostBadge(host)} />
      <div class="item-text">
        <a href={hrefTo('deckies', { host: host.host_uuid })}>{host.name}</a>
        <p class="muted clip">
          {host.status === 'offline'
            ? `last seen ${host.last_heartbeat === null ? 'never' : formatAge(host.last_heartbeat, now.value)}, ${formatCount(host.shards, 'decky', 'deckies')} on record`
            : (host.inventory_error ?? formatNotes(host))}
        </p>
      </div>
    </li>
  );
}

function OpenOperations({ swarm }: { swarm: Swarm }) {
  const open = swarm.openOperations.value;
  return (
    <section class="card" aria-labelledby="open">
      <div class="card-head">
        <h2 id="open">In progress</h2>
        {open.length > 0 && <span class="pill busy">{formatNumber(open.length)}</span>}
      </div>
      {open.length === 0 && <Empty title="No open operations.">Teardowns appear here until they end.</Empty>}
      <ul class="list">
        {open.slice(0, MAX_ROWS).map((operation) => (
          <OpenRow key={operation.operation_id} operation={operation} />
        ))}
      </ul>
      <div class="card-more">
        {open.length > MAX_ROWS && (
          <a href={hrefTo('operations', { state: 'open' })}>All {formatNumber(open.length)}</a>
        )}
      </div>
    </section>
  );
}

function OpenRow({ operation }: { operation: OperationRecord }) {
  return (
    <li class="item">
      <StateBadge badge={OPERATION_STATES[operation.state]} />
      <div class="item-text">
        <a href={hrefTo('op', {}, operation.operation_id)}>{formatTarget(operation)}</a>
        <p class="muted clip">
          by {operation.requested_by}, {formatAge(operation.accepted_at, now.value)}
        </p>
      </div>
    </li>
  );
}

function EventFeed() {
  return (
    <section class="card feed" aria-labelledby="feed">
      <div class="card-head">
        <h2 id="feed">Events</h2>
      </div>
      {events.value.length === 0 && (
        <Empty title="No events yet.">Changes in the swarm appear here while this page is open.</Empty>
      )}
      <ol class="events">
        {events.value.slice(0, MAX_EVENTS_SHOWN).map((event) => (
          <li key={event.id} class="event">
            <time class="muted number" dateTime={event.at}>
              {formatTime(event.at, now.value)}
            </time>
            <span class={`event-glyph tone-${event.badge.tone}`}>
              <span class="glyph" aria-hidden="true" />
            </span>
            <p>
              {event.href === '' ? event.subject : <a href={event.href}>{event.subject}</a>}{' '}
              {event.badge.label !== '' && <span class={`word tone-${event.badge.tone}`}>{event.badge.label}</span>}
              {event.detail !== '' && (
                <small class="muted clip" title={event.detail}>
                  {event.detail}
                </small>
              )}
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}
