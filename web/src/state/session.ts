// One signed-in session: the state of its connection, and the views that follow the controller's broadcasts. Signing in
// is in sign-in.ts, the user's requests are in requests.ts.

import { batch, computed, signal } from '@preact/signals';
import type { NatsConnection } from '@nats-io/nats-core';
import { detectRole, RequestError, SignInError, type Role } from '../nats/client';
import { Follower, type Source } from '../nats/follower';
import { VIEWS } from '../nats/subjects';
import type { Change, View } from '../nats/view';
import type { HostsList, HostsUpdated, OperationsList, OperationsUpdated, ShardsList, ShardsUpdated } from '../wire';
import { logChanges, logPageEvent } from './event-feed';
import { shardKey, Swarm } from './swarm';

/** The current time, updated every second, for relative times on the page. */
export const now = signal(Date.now());

/** An idle controller repeats its last revision every 5 s. After twice that and a margin, it counts as gone. */
const CONTROLLER_SILENCE_MS = 12_000;
/** How often hosts are listed again: `last_heartbeat` is not broadcast. */
const HOST_REFRESH_INTERVAL_MS = 30_000;

export type ConnectionState = 'live' | 'catching up' | 'no controller' | 'disconnected';

type Kind = keyof typeof VIEWS;
const KINDS: readonly Kind[] = ['shards', 'hosts', 'operations'];

export class Session {
  readonly swarm = new Swarm();
  readonly nc: NatsConnection;
  readonly user: string;
  /** The ids of the hosts that an operator is limited to. Empty for a viewer and for an operator of all hosts. */
  readonly hosts: ReadonlySet<string>;
  readonly role = signal<Role>('viewer');
  readonly #connected = signal(true);
  readonly #lastActivity = signal(Date.now());
  /** The views whose listing is not complete. */
  readonly #listing = signal<ReadonlySet<Kind>>(new Set(KINDS));
  /** Why the last listing failed. */
  readonly listError = signal<RequestError | undefined>(undefined);
  /** The views whose first listing is complete. */
  readonly #loaded = signal<ReadonlySet<Kind>>(new Set());
  /** Since when the data may be out of date, in milliseconds since 1970. */
  readonly staleSince = signal<number | undefined>(undefined);
  readonly #followers = new Map<Kind, { relist(): void }>();
  #refreshedAt = Date.now();
  readonly #timer: number;

  constructor(nc: NatsConnection, user: string, role: Role, hosts: ReadonlySet<string>) {
    this.nc = nc;
    this.user = user;
    this.hosts = hosts;
    this.role.value = role;
    this.#follow('shards', this.swarm.views.shards, logChanges.shards, {
      ...VIEWS.shards,
      readRecords: (reply) => (reply as ShardsList).shards,
      readBroadcast: (message) => {
        const { revision, updated, removed } = message as ShardsUpdated;
        return {
          revision,
          updated,
          removed: removed.map((removal) => ({ key: shardKey(removal), revision: removal.revision })),
        };
      },
    });
    this.#follow('hosts', this.swarm.views.hosts, logChanges.hosts, {
      ...VIEWS.hosts,
      readRecords: (reply) => (reply as HostsList).hosts,
      readBroadcast: (message) => ({ ...(message as HostsUpdated), removed: [] }),
    });
    this.#follow('operations', this.swarm.views.operations, logChanges.operations, {
      ...VIEWS.operations,
      readRecords: (reply) => (reply as OperationsList).operations,
      readBroadcast: (message) => ({ ...(message as OperationsUpdated), removed: [] }),
    });
    void this.#watchConnection();
    this.#timer = window.setInterval(() => this.#tick(), 1_000);
  }

  readonly connectionState = computed<ConnectionState>(() => {
    if (!this.#connected.value) return 'disconnected';
    if (now.value - this.#lastActivity.value > CONTROLLER_SILENCE_MS) return 'no controller';
    // A refresh of complete data does not count as catching up.
    return this.staleSince.value === undefined ? 'live' : 'catching up';
  });

  readonly isLoaded = (kind: Kind) => this.#loaded.value.has(kind);

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.nc.close();
  }

  #follow<R>(
    kind: Kind,
    view: View<R>,
    log: (changes: readonly Change<R>[], at: string) => void,
    source: Source<R>,
  ): void {
    const follower = new Follower(this.nc, source, view, {
      onChanges: (changes, at) => {
        batch(() => {
          this.swarm.markChanged(kind);
          if (at !== undefined) log(changes, at);
        });
      },
      onActivity: () => {
        this.#lastActivity.value = Date.now();
        this.listError.value = undefined;
      },
      onListing: (state) => this.#updateListing(kind, state),
    });
    this.#followers.set(kind, follower);
  }

  #updateListing(kind: Kind, state: 'started' | 'complete' | RequestError): void {
    batch(() => {
      if (state instanceof RequestError) {
        this.listError.value = state;
        return;
      }
      const listing = new Set(this.#listing.value);
      if (state === 'started') listing.add(kind);
      else listing.delete(kind);
      this.#listing.value = listing;
      if (state !== 'complete') return;
      this.#loaded.value = new Set([...this.#loaded.value, kind]);
      if (listing.size === 0 && this.#connected.value && this.staleSince.value !== undefined) {
        this.staleSince.value = undefined;
        logPageEvent('Caught up with the controller.');
      }
    });
  }

  #tick(): void {
    now.value = Date.now();
    const state = this.connectionState.value;
    if (state === 'no controller') this.staleSince.value ??= this.#lastActivity.value;
    if (state === 'catching up' && this.#listing.value.size === 0) this.#relistAll();
    if (!document.hidden && state === 'live' && now.value - this.#refreshedAt > HOST_REFRESH_INTERVAL_MS) {
      this.#refreshedAt = now.value;
      this.#followers.get('hosts')?.relist();
    }
  }

  #relistAll(): void {
    for (const follower of this.#followers.values()) follower.relist();
  }

  async #watchConnection(): Promise<void> {
    for await (const status of this.nc.status()) {
      if (status.type === 'disconnect') this.#onDisconnect();
      if (status.type === 'reconnect') this.#onReconnect();
    }
    // The connection is closed: by the user, or because the server no longer accepts the credentials.
    const error = await this.nc.closed();
    if (error) signOut(new SignInError('The NATS server ended this session.', 'Sign in again with valid credentials.'));
  }

  /** Handles the first disconnect; further ones before a reconnect change nothing. */
  #onDisconnect(): void {
    if (!this.#connected.value) return;
    batch(() => {
      this.#connected.value = false;
      this.staleSince.value ??= Date.now();
      this.#listing.value = new Set(KINDS);
      logPageEvent('Lost the connection to the NATS server.');
    });
  }

  #onReconnect(): void {
    this.#connected.value = true;
    this.#lastActivity.value = Date.now();
    this.#relistAll();
    // The user's role may have changed meanwhile.
    detectRole(this.nc).then(
      (role) => (this.role.value = role),
      () => undefined,
    );
  }
}

export const session = signal<Session | undefined>(undefined);
/** Why the user was signed out, if the server did it. */
export const signedOutReason = signal<SignInError | undefined>(undefined);

export function signOut(reason?: SignInError): void {
  const ended = session.value;
  batch(() => {
    session.value = undefined;
    signedOutReason.value = reason;
  });
  void ended?.close();
}

/** Whether the user may change things. */
/** Whether the user may change everything. */
export const isOperator = () => session.value?.role.value === 'operator';

/** Whether the user may tear down deckies of this host. */
export const mayTearDown = (host: string) => isOperator() || (session.value?.hosts.has(host) ?? false);
