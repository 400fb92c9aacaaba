// The frame of every page: the header with its navigation, the banner that warns about stale data, and the tray.

import { useEffect, useRef } from 'preact/hooks';
import { announcement } from '../state/requests';
import { hrefTo, route, type PageName } from '../state/route';
import { now, signOut, type ConnectionState, type Session } from '../state/session';
import { formatAge, formatCount, formatNumber, formatTime } from '../text/format';
import { Deckies } from './deckies/deckies';
import { HostDialog } from './hosts/host-dialog';
import { Hosts } from './hosts/hosts';
import { Logo } from './components/logo';
import { Operation } from './operations/operation';
import { Operations } from './operations/operations';
import { Overview } from './overview';
import { ThemeButton } from './components/theme-button';
import { Tray } from './tray';

export function Shell({ session }: { session: Session }) {
  const { page, id } = route.value;
  const stale = session.staleSince.value !== undefined;
  return (
    <div class={stale ? 'shell stale' : 'shell'}>
      <a class="skip" href="#content" onClick={skip}>
        Skip to content
      </a>
      <header class="top">
        <div class="top-row">
          <a class="brand" href={hrefTo('overview')}>
            <Logo />
            <span>Scuttle</span>
          </a>
          <Nav session={session} page={page} />
          <div class="top-end">
            <ConnectionBadge state={session.connectionState.value} />
            <span class="who" title={`Signed in at ${session.nc.getServer()}`}>
              <strong>{session.user}</strong>
              <small class="muted">{describeRole(session)}</small>
            </span>
            <ThemeButton />
            <button type="button" class="button quiet" onClick={() => signOut()}>
              Sign out
            </button>
          </div>
        </div>
        <Banner session={session} />
      </header>
      <Content page={page} id={id} session={session} />
      <Tray session={session} />
      <HostDialog />
      <p class="visually-hidden" aria-live="polite" role="status">
        {announcement.value}
      </p>
    </div>
  );
}

function describeRole({ role, hosts }: Session): string {
  if (role.value === 'operator' || hosts.size === 0) return role.value;
  return `operator for ${formatCount(hosts.size, 'host', 'hosts')}`;
}

function skip(event: MouseEvent): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

const TITLES: Readonly<Record<PageName, string>> = {
  overview: 'Overview',
  hosts: 'Hosts',
  deckies: 'Deckies',
  operations: 'Operations',
  op: 'Operation',
};

function Content({ page, id, session }: { page: PageName; id: string; session: Session }) {
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${TITLES[page]} · Scuttle`;
    // A new page starts at its top, with the focus on its content for screen readers.
    if (!first.current) {
      scrollTo(0, 0);
      main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [page, id]);
  return (
    <main id="content" ref={main} tabIndex={-1}>
      {page === 'overview' && <Overview session={session} />}
      {page === 'hosts' && <Hosts session={session} />}
      {page === 'deckies' && <Deckies session={session} />}
      {page === 'operations' && <Operations session={session} />}
      {page === 'op' && <Operation key={id} session={session} id={id} />}
    </main>
  );
}

function Nav({ session, page }: { session: Session; page: PageName }) {
  const { swarm } = session;
  const open = swarm.openOperations.value.length;
  const entries: [PageName, number | undefined][] = [
    ['overview', undefined],
    ['hosts', swarm.hosts.value.length],
    ['deckies', swarm.shards.value.length],
    ['operations', open === 0 ? undefined : open],
  ];
  return (
    <nav class="nav" aria-label="Pages">
      {entries.map(([target, number]) => {
        const current = page === target || (page === 'op' && target === 'operations');
        return (
          <a key={target} href={hrefTo(target)} aria-current={current ? 'page' : undefined}>
            {TITLES[target]}
            {number !== undefined && (
              <span class={target === 'operations' ? 'pill busy' : 'pill'}>{formatNumber(number)}</span>
            )}
          </a>
        );
      })}
    </nav>
  );
}

const CONNECTION_TONES: Readonly<Record<ConnectionState, string>> = {
  live: 'good',
  'catching up': 'busy',
  'no controller': 'warn',
  disconnected: 'alarm',
};

function ConnectionBadge({ state }: { state: ConnectionState }) {
  return (
    <span class={`state tone-${CONNECTION_TONES[state]}`} role="status">
      <span class="glyph" aria-hidden="true" />
      {state}
    </span>
  );
}

/** Warns that the data may be out of date, and says what happens next. */
function Banner({ session }: { session: Session }) {
  const since = session.staleSince.value;
  const error = session.listError.value;
  const state = session.connectionState.value;
  if (since === undefined && error === undefined) return null;
  const asOf =
    since === undefined
      ? ''
      : ` Showing data as of ${formatTime(new Date(since).toISOString(), now.value)} (${formatAge(new Date(since).toISOString(), now.value)}).`;
  const [tone, title, text] =
    state === 'disconnected'
      ? [
          'alarm',
          'Lost the connection to the NATS server.',
          `Reconnecting every two seconds. You do not need to reload the page.${asOf}`,
        ]
      : error?.code === 'denied'
        ? ['alarm', 'This user is not allowed to view the swarm.', 'Sign in as an operator or a viewer.']
        : state === 'no controller' || error !== undefined
          ? [
              'warn',
              'No controller responds.',
              `Check that scuttle-controller is running. The page retries automatically.${asOf}`,
            ]
          : ['busy', 'Catching up.', `The connection is back. Loading all data again.${asOf}`];
  return (
    <div class={`banner tone-${tone}`} role="alert">
      <span class="glyph" aria-hidden="true" />
      <strong>{title}</strong> <span>{text}</span>
    </div>
  );
}
