// One sign-in, from its first connection to its last: the connection's state, the views that follow the bus, and what is asked
// of the controller meanwhile.

import { batch, computed, signal } from '@preact/signals';
import type { NatsConnection } from '@nats-io/nats-core';
import { connect, NotSignedIn, Refused, roleOf, type Config, type Login, type Role } from './bus';
import { forgetFeed, note, tell } from './feed';
import { Follower, type Source } from './follow';
import { VIEWS } from './subjects';
import { shardKey, Swarm } from './swarm';
import { forgetRequests } from './requests';
import type { Change, View } from './view';
import type { HostsList, HostsUpdated, OperationsList, OperationsUpdated, ShardsList, ShardsUpdated } from './wire';

/** The time, for what is shown relative to it. */
export const now = signal(Date.now());

/** An idle controller repeats its last revision every 5 s: after twice that and a little, it is gone. */
const SILENCE_MS = 12_000;
/** `last_heartbeat` is told on no broadcast. */
const REFRESH_MS = 30_000;

/** How good what is shown is. */
export type Link = 'live' | 'catching up' | 'silent' | 'lost';

type Kind = keyof typeof VIEWS;
const KINDS: readonly Kind[] = ['shards', 'hosts', 'operations'];

export class Session {
  readonly swarm = new Swarm();
  readonly nc: NatsConnection;
  readonly user: string;
  readonly server: string;
  readonly role = signal<Role>('viewer');
  readonly #connected = signal(true);
  readonly #heardAt = signal(Date.now());
  /** Which views are not whole yet. */
  readonly #listing = signal<ReadonlySet<Kind>>(new Set(KINDS));
  /** Why a list cannot be had. */
  readonly trouble = signal<Refused | undefined>(undefined);
  /** Whether the first listing of each view was whole. */
  readonly #loaded = signal<ReadonlySet<Kind>>(new Set());
  /** Since when what is shown may be out of date. */
  readonly staleSince = signal<number | undefined>(undefined);
  readonly #followers = new Map<Kind, { listAgain(): void }>();
  #refreshed = Date.now();
  #lost = false;
  readonly #timer: number;

  constructor(nc: NatsConnection, user: string, role: Role, server: string) {
    this.nc = nc;
    this.user = user;
    this.server = server;
    this.role.value = role;
    forgetRequests();
    forgetFeed();
    this.#follow('shards', this.swarm.views.shards, tell.shards, {
      ...VIEWS.shards,
      records: (answer) => (answer as ShardsList).shards,
      told: (message) => {
        const { revision, updated, removed } = message as ShardsUpdated;
        return {
          revision,
          updated,
          removed: removed.map((gone) => ({ key: shardKey(gone), revision: gone.revision })),
        };
      },
    });
    this.#follow('hosts', this.swarm.views.hosts, tell.hosts, {
      ...VIEWS.hosts,
      records: (answer) => (answer as HostsList).hosts,
      told: (message) => ({ ...(message as HostsUpdated), removed: [] }),
    });
    this.#follow('operations', this.swarm.views.operations, tell.operations, {
      ...VIEWS.operations,
      records: (answer) => (answer as OperationsList).operations,
      told: (message) => ({ ...(message as OperationsUpdated), removed: [] }),
    });
    void this.#watch();
    this.#timer = window.setInterval(() => this.#tick(), 1_000);
  }

  readonly link = computed<Link>(() => {
    if (!this.#connected.value) return 'lost';
    if (now.value - this.#heardAt.value > SILENCE_MS) return 'silent';
    // A refresh is not news: what was whole stays shown as it is.
    return this.staleSince.value === undefined ? 'live' : 'catching up';
  });

  readonly loaded = (kind: Kind) => this.#loaded.value.has(kind);

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.nc.close();
  }

  #follow<R>(
    kind: Kind,
    view: View<R>,
    told: (changes: readonly Change<R>[], at: string) => void,
    source: Source<R>,
  ): void {
    const follower = new Follower(this.nc, source, view, {
      changed: (changes, at) => {
        batch(() => {
          this.swarm.changed(kind);
          if (at !== undefined) told(changes, at);
        });
      },
      heard: () => {
        this.#heardAt.value = Date.now();
        this.trouble.value = undefined;
      },
      listing: (state) => this.#listed(kind, state),
    });
    this.#followers.set(kind, follower);
  }

  #listed(kind: Kind, state: 'begun' | 'whole' | Refused): void {
    batch(() => {
      if (state instanceof Refused) {
        this.trouble.value = state;
        return;
      }
      const listing = new Set(this.#listing.value);
      if (state === 'begun') listing.add(kind);
      else listing.delete(kind);
      this.#listing.value = listing;
      if (state !== 'whole') return;
      this.#loaded.value = new Set([...this.#loaded.value, kind]);
      if (listing.size === 0 && this.#connected.value && this.staleSince.value !== undefined) {
        this.staleSince.value = undefined;
        note('Caught up: what is shown is what the controller has.');
      }
    });
  }

  #tick(): void {
    now.value = Date.now();
    if (this.link.value === 'silent') this.staleSince.value ??= this.#heardAt.value;
    if (this.link.value === 'catching up' && this.#listing.value.size === 0) this.#listAgain();
    if (!document.hidden && this.link.value === 'live' && now.value - this.#refreshed > REFRESH_MS) {
      this.#refreshed = now.value;
      this.#followers.get('hosts')?.listAgain();
    }
  }

  #listAgain(): void {
    for (const follower of this.#followers.values()) follower.listAgain();
  }

  async #watch(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === 'disconnect') this.#disconnected();
      if (status.type === 'reconnect') this.#reconnected();
    }
    // It was closed, by the user or because the server takes the login no more.
    const error = await this.nc.closed();
    if (error)
      signOut(new NotSignedIn('The NATS server has ended this sign-in.', 'Sign in again, with what it takes now.'));
  }

  #disconnected(): void {
    if (this.#lost) return;
    this.#lost = true;
    batch(() => {
      this.#connected.value = false;
      this.staleSince.value ??= Date.now();
      this.#listing.value = new Set(KINDS);
      note('The connection to the NATS server was lost.');
    });
  }

  #reconnected(): void {
    this.#lost = false;
    this.#connected.value = true;
    this.#heardAt.value = Date.now();
    this.#listAgain();
    // What the user may do can have changed meanwhile.
    roleOf(this.nc).then(
      (role) => (this.role.value = role),
      () => undefined,
    );
  }
}

export const session = signal<Session | undefined>(undefined);
export const config = signal<Config | undefined>(undefined);
/** Why nobody is signed in any more. */
export const signedOut = signal<NotSignedIn | undefined>(undefined);

export async function signIn(login: Login): Promise<void> {
  const { nats_url: url } = await loadConfig();
  const nc = await connect(url, login);
  try {
    const role = await roleOf(nc);
    const user = 'creds' in login ? nameIn(login.creds) : login.user;
    batch(() => {
      signedOut.value = undefined;
      session.value = new Session(nc, user, role, url);
    });
  } catch (error) {
    await nc.close();
    throw error;
  }
}

/** The user's name in a credentials file, as the server will vouch for it. */
function nameIn(creds: string): string {
  try {
    const claims = /BEGIN NATS USER JWT-+\s+([\w-]+)\.([\w-]+)/.exec(creds)?.[2] ?? '';
    return (JSON.parse(atob(claims.replace(/-/g, '+').replace(/_/g, '/'))) as { name?: string }).name ?? 'signed in';
  } catch {
    return 'signed in';
  }
}

export function signOut(why?: NotSignedIn): void {
  const ended = session.value;
  batch(() => {
    session.value = undefined;
    signedOut.value = why;
  });
  void ended?.close();
}

export async function loadConfig(): Promise<Config> {
  if (config.value !== undefined) return config.value;
  try {
    const answer = await fetch('config.json', { cache: 'no-store' });
    if (!answer.ok) throw new Error(`${answer.status}`);
    config.value = (await answer.json()) as Config;
    return config.value;
  } catch {
    throw new NotSignedIn(
      'The controller that serves this page does not answer.',
      'Check that it runs, then try again: this page needs no reload.',
    );
  }
}

/** Whether the user may change things. */
export const operator = () => session.value?.role.value === 'operator';
