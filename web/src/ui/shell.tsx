// What surrounds every page: the head with its links, the banner that says how good what is shown is, and what was asked for.

import { useEffect, useRef } from 'preact/hooks';
import { announcement } from '../requests';
import { link, route, type Place } from '../route';
import { now, signOut, type Link, type Session } from '../session';
import { ago, figure, time } from '../words';
import { Deckies } from './deckies';
import { HostDialog } from './host-dialog';
import { Hosts } from './hosts';
import { Mark } from './mark';
import { Operation } from './operation';
import { Operations } from './operations';
import { Overview } from './overview';
import { ThemeButton } from './theme-button';
import { Tray } from './tray';

export function Shell({ session }: { session: Session }) {
  const { place, id } = route.value;
  const stale = session.staleSince.value !== undefined;
  return (
    <div class={stale ? 'shell stale' : 'shell'}>
      <a class="skip" href="#content" onClick={skip}>
        Skip to the content
      </a>
      <header class="top">
        <div class="top-row">
          <a class="brand" href={link('overview')}>
            <Mark />
            <span>Scuttle</span>
          </a>
          <Nav session={session} place={place} />
          <div class="top-end">
            <LinkState link={session.link.value} />
            <span class="who" title={`Signed in at ${session.server}`}>
              <strong>{session.user}</strong>
              <small class="muted">{session.role.value}</small>
            </span>
            <ThemeButton />
            <button type="button" class="button quiet" onClick={() => signOut()}>
              Sign out
            </button>
          </div>
        </div>
        <Banner session={session} />
      </header>
      <Content place={place} id={id} session={session} />
      <Tray session={session} />
      <HostDialog />
      <p class="unseen" aria-live="polite" role="status">
        {announcement.value}
      </p>
    </div>
  );
}

function skip(event: MouseEvent): void {
  event.preventDefault();
  document.getElementById('content')?.focus();
}

const TITLES: Readonly<Record<Place, string>> = {
  overview: 'Overview',
  hosts: 'Hosts',
  deckies: 'Deckies',
  operations: 'Operations',
  op: 'Operation',
};

function Content({ place, id, session }: { place: Place; id: string; session: Session }) {
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    document.title = `${TITLES[place]} · Scuttle`;
    // A new page begins at its top, for eyes and for screen readers.
    if (!first.current) {
      scrollTo(0, 0);
      main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [place, id]);
  return (
    <main id="content" ref={main} tabIndex={-1}>
      {place === 'overview' && <Overview session={session} />}
      {place === 'hosts' && <Hosts session={session} />}
      {place === 'deckies' && <Deckies session={session} />}
      {place === 'operations' && <Operations session={session} />}
      {place === 'op' && <Operation key={id} session={session} id={id} />}
    </main>
  );
}

function Nav({ session, place }: { session: Session; place: Place }) {
  const { swarm } = session;
  const open = swarm.openOperations.value.length;
  const entries: [Place, number | undefined][] = [
    ['overview', undefined],
    ['hosts', swarm.hosts.value.length],
    ['deckies', swarm.shards.value.length],
    ['operations', open === 0 ? undefined : open],
  ];
  return (
    <nav class="nav" aria-label="Pages">
      {entries.map(([one, number]) => {
        const here = place === one || (place === 'op' && one === 'operations');
        return (
          <a key={one} href={link(one)} aria-current={here ? 'page' : undefined}>
            {TITLES[one]}
            {number !== undefined && <span class={one === 'operations' ? 'pill busy' : 'pill'}>{figure(number)}</span>}
          </a>
        );
      })}
    </nav>
  );
}

const LINKS: Readonly<Record<Link, { word: string; look: string }>> = {
  live: { word: 'live', look: 'good' },
  'catching up': { word: 'catching up', look: 'going' },
  silent: { word: 'no controller', look: 'warn' },
  lost: { word: 'not connected', look: 'alarm' },
};

function LinkState({ link: state }: { link: Link }) {
  const { word, look } = LINKS[state];
  return (
    <span class={`state link look-${look}`} role="status">
      <span class="sign" aria-hidden="true" />
      {word}
    </span>
  );
}

function Banner({ session }: { session: Session }) {
  const since = session.staleSince.value;
  const trouble = session.trouble.value;
  const state = session.link.value;
  if (since === undefined && trouble === undefined) return null;
  const shown =
    since === undefined
      ? ''
      : ` What is shown is as of ${time(new Date(since).toISOString(), now.value)} (${ago(new Date(since).toISOString(), now.value)}).`;
  const [look, title, text] =
    state === 'lost'
      ? [
          'alarm',
          'The connection to the NATS server is lost.',
          `Trying again every two seconds; nothing has to be reloaded.${shown}`,
        ]
      : trouble?.code === 'denied'
        ? ['alarm', 'This user may not see the swarm.', 'Sign in as a user with the role of an operator or a viewer.']
        : state === 'silent' || trouble !== undefined
          ? [
              'warn',
              'No controller answers.',
              `Check that scuttle-controller runs. It is asked again by itself.${shown}`,
            ]
          : ['going', 'Catching up.', `The connection is back, and everything is read again.${shown}`];
  return (
    <div class={`banner look-${look}`} role="alert">
      <span class="sign" aria-hidden="true" />
      <strong>{title}</strong> <span>{text}</span>
    </div>
  );
}
