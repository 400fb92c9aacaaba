// The overview: how many are how, what needs somebody, what is on its way, and what just happened.

import { feed } from '../feed';
import { link } from '../route';
import { now, type Session } from '../session';
import type { Swarm } from '../swarm';
import type { HostRecord, OperationRecord, ShardRecord, ShardState } from '../wire';
import { ago, count, figure, OPERATION_STATES, SHARD_STATES, target, time } from '../words';
import { lookOf } from './hosts';
import { Empty, Loading } from './notice';
import { Bar, State } from './state';
import { RetryButton } from './teardown-button';

/** How many rows a list on this page has, before it leads to the page that has all. */
const SHOWN = 6;
const EVENTS_SHOWN = 40;

export function Overview({ session }: { session: Session }) {
  const { swarm } = session;
  if (!session.loaded('shards') && swarm.shards.value.length === 0) return <Loading what="the swarm" />;
  return (
    <div class="overview">
      <h1 class="unseen">Overview</h1>
      <Figures swarm={swarm} />
      <section class="card wide-card" aria-labelledby="states">
        <div class="card-head">
          <h2 id="states">Deckies by state</h2>
          <a href={link('deckies', { view: 'map' })}>Map</a>
        </div>
        <States swarm={swarm} />
      </section>
      <div class="columns">
        <div class="column">
          <Attention swarm={swarm} />
          <Open swarm={swarm} />
        </div>
        <Feed />
      </div>
    </div>
  );
}

function Figures({ swarm }: { swarm: Swarm }) {
  const hosts = swarm.hosts.value;
  const online = hosts.filter((host) => host.status === 'online').length;
  const failures = swarm.failures.value.length;
  const open = swarm.openOperations.value;
  const queued = open.filter((one) => one.state === 'queued').length;
  return (
    <div class="figures">
      <Figure
        href={link('deckies', { state: 'teardown_failed,failed' })}
        name="Failed deckies"
        value={failures}
        alarm={failures > 0}
      >
        {failures === 0 ? 'nothing needs you' : `${figure(swarm.counts.value.teardown_failed)} could not be torn down`}
      </Figure>
      <Figure href={link('hosts')} name="Hosts online" value={online} of={hosts.length} alarm={online < hosts.length}>
        {hosts.length === 0
          ? 'none is enrolled yet'
          : online === hosts.length
            ? 'all are heard'
            : `${figure(hosts.length - online)} not heard`}
      </Figure>
      <Figure href={link('operations')} name="Open operations" value={open.length}>
        {open.length === 0
          ? 'nothing is under way'
          : `${figure(open.length - queued)} running, ${figure(queued)} queued`}
      </Figure>
      <Figure href={link('deckies')} name="Deckies" value={swarm.shards.value.length}>
        {`${figure(swarm.counts.value.running)} running`}
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
        {figure(value)}
        {of !== undefined && <small> / {figure(of)}</small>}
      </span>
      <span class="figure-note muted">{children}</span>
    </a>
  );
}

function States({ swarm }: { swarm: Swarm }) {
  const counts = swarm.counts.value;
  if (swarm.shards.value.length === 0) {
    return <Empty title="No decky is on the record.">Deckies appear here when the hosts’ agents report them.</Empty>;
  }
  return (
    <>
      <Bar counts={counts} />
      <ul class="legend">
        {(Object.keys(SHARD_STATES) as ShardState[]).map((state) => (
          <li key={state}>
            <a class={counts[state] === 0 ? 'none' : ''} href={link('deckies', { state })}>
              <State of={SHARD_STATES[state]} plain />
              <span class="number">{figure(counts[state])}</span>
            </a>
          </li>
        ))}
      </ul>
    </>
  );
}

/** What somebody has to look at: deckies by host, and hosts that are not heard or blind. */
function Attention({ swarm }: { swarm: Swarm }) {
  const failing = new Map<string, ShardRecord[]>();
  for (const shard of swarm.failures.value) {
    const shards = failing.get(shard.host_uuid);
    if (shards === undefined) failing.set(shard.host_uuid, [shard]);
    else shards.push(shard);
  }
  const hosts = swarm.hosts.value.filter((host) => host.status === 'offline' || Boolean(host.inventory_error));
  const rows = [...failing.values()];
  const total = rows.length + hosts.length;
  return (
    <section class="card" aria-labelledby="attention">
      <div class="card-head">
        <h2 id="attention">Needs attention</h2>
        {total > 0 && <span class="pill alarm">{figure(total)}</span>}
      </div>
      {total === 0 && <Empty title="Nothing does.">Failures and hosts that are not heard are shown here.</Empty>}
      <ul class="list">
        {rows.slice(0, SHOWN).map((shards) => (
          <FailedRow key={shards[0]!.host_uuid} shards={shards} />
        ))}
        {hosts.slice(0, SHOWN).map((host) => (
          <HostRow key={host.host_uuid} host={host} />
        ))}
      </ul>
      <div class="card-more">
        {rows.length > SHOWN && (
          <a href={link('deckies', { state: 'teardown_failed,failed' })}>
            All {figure(swarm.failures.value.length)} failed deckies
          </a>
        )}
        {hosts.length > SHOWN && (
          <a href={link('hosts', { status: 'offline' })}>All {figure(hosts.length)} hosts that are not heard</a>
        )}
      </div>
    </section>
  );
}

function FailedRow({ shards }: { shards: readonly ShardRecord[] }) {
  const first = shards[0]!;
  const again = shards.filter((one) => one.state === 'teardown_failed');
  const name =
    shards.length === 1
      ? `${first.decky_id} on ${first.host_name}`
      : `${count(shards.length, 'decky', 'deckies')} on ${first.host_name}`;
  return (
    <li class="item">
      <State of={SHARD_STATES[first.state]} />
      <div class="item-text">
        <a href={link('deckies', { host: first.host_uuid, state: 'teardown_failed,failed' })}>{name}</a>
        <p class="muted clip" title={first.last_error ?? undefined}>
          {first.last_error ?? 'its agent says no more'}
        </p>
      </div>
      <RetryButton shards={again} where="overview" />
    </li>
  );
}

function HostRow({ host }: { host: HostRecord }) {
  return (
    <li class="item">
      <State of={lookOf(host)} />
      <div class="item-text">
        <a href={link('deckies', { host: host.host_uuid })}>{host.name}</a>
        <p class="muted clip">
          {host.status === 'offline'
            ? `last heard ${host.last_heartbeat === null ? 'never' : ago(host.last_heartbeat, now.value)}, ${count(host.shards, 'decky', 'deckies')} on record`
            : host.inventory_error}
        </p>
      </div>
    </li>
  );
}

function Open({ swarm }: { swarm: Swarm }) {
  const open = swarm.openOperations.value;
  return (
    <section class="card" aria-labelledby="open">
      <div class="card-head">
        <h2 id="open">Under way</h2>
        {open.length > 0 && <span class="pill busy">{figure(open.length)}</span>}
      </div>
      {open.length === 0 && <Empty title="Nothing is under way.">Teardowns are shown here until they end.</Empty>}
      <ul class="list">
        {open.slice(0, SHOWN).map((one) => (
          <OpenRow key={one.operation_id} one={one} />
        ))}
      </ul>
      <div class="card-more">
        {open.length > SHOWN && <a href={link('operations', { state: 'open' })}>All {figure(open.length)}</a>}
      </div>
    </section>
  );
}

function OpenRow({ one }: { one: OperationRecord }) {
  return (
    <li class="item">
      <State of={OPERATION_STATES[one.state]} />
      <div class="item-text">
        <a href={link('op', {}, one.operation_id)}>{target(one)}</a>
        <p class="muted clip">
          by {one.requested_by}, {ago(one.accepted_at, now.value)}
        </p>
      </div>
    </li>
  );
}

function Feed() {
  const events = feed.value;
  return (
    <section class="card feed" aria-labelledby="feed">
      <div class="card-head">
        <h2 id="feed">Just happened</h2>
      </div>
      {events.length === 0 && (
        <Empty title="Quiet so far.">What changes in the swarm while this page is open is told here.</Empty>
      )}
      <ol class="events">
        {events.slice(0, EVENTS_SHOWN).map((event) => (
          <li key={event.id} class="event">
            <time class="muted number" dateTime={event.at}>
              {time(event.at, now.value)}
            </time>
            <span class={`event-sign look-${event.became.look}`}>
              <span class="sign" aria-hidden="true" />
            </span>
            <p>
              {event.href === '' ? event.what : <a href={event.href}>{event.what}</a>}{' '}
              {event.became.word !== '' && <span class={`word look-${event.became.look}`}>{event.became.word}</span>}
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
