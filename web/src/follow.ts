// Keeps a view up to date: subscribes, lists, hears, and lists again after a gap. What came is applied once a frame.

import type { NatsConnection } from '@nats-io/nats-core';
import { ask, pause, Refused } from './bus';
import type { Change, Told, View } from './view';

/** What a view is followed by. */
export interface Source<R> {
  readonly list: string;
  readonly updated: string;
  told(message: unknown): Told<R>;
  records(answer: unknown): readonly R[];
}

export interface Listener<R> {
  /** Records changed: as was told at `at`, or found by listing. */
  changed(changes: readonly Change<R>[], at: string | undefined): void;
  /** Something was heard from the controller. */
  heard(): void;
  /** A listing has begun, or is whole; or it came to nothing, and is tried again. */
  listing(state: 'begun' | 'whole' | Refused): void;
}

/** How many records a page has: the protocol's most. */
const PAGE = 1_000;
const RETRY_MS = 2_000;
/** A hidden page has no frames. */
const HIDDEN_MS = 250;

export class Follower<R> {
  readonly #nc: NatsConnection;
  readonly #source: Source<R>;
  readonly #view: View<R>;
  readonly #listener: Listener<R>;
  #waiting: unknown[] = [];
  /** How many listings were asked for: one that was asked for meanwhile begins anew. */
  #asked = 0;
  #running = false;

  constructor(nc: NatsConnection, source: Source<R>, view: View<R>, listener: Listener<R>) {
    this.#nc = nc;
    this.#source = source;
    this.#view = view;
    this.#listener = listener;
    nc.subscribe(source.updated, {
      callback: (error, message) => {
        if (error === null) this.#hear(message.json());
      },
    });
    this.listAgain();
  }

  /** Lists: at first, after a gap, after the connection was lost, and now and then for what is told on no broadcast. */
  listAgain(): void {
    this.#asked += 1;
    if (!this.#running) void this.#list();
  }

  #hear(message: unknown): void {
    this.#waiting.push(message);
    if (this.#waiting.length === 1) onceAFrame(() => this.#apply());
  }

  #apply(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#listener.heard();
    let missed = false;
    for (const message of waiting) {
      const result = this.#view.hear(this.#source.told(message));
      missed ||= result.missed;
      if (result.changes.length > 0) this.#listener.changed(result.changes, (message as { at: string }).at);
    }
    if (missed) this.listAgain();
  }

  async #list(): Promise<void> {
    this.#running = true;
    let done = 0;
    while (done !== this.#asked && !this.#nc.isClosed()) {
      const round = this.#asked;
      this.#listener.listing('begun');
      try {
        await this.#pages();
        done = round;
        // One that was asked for again meanwhile may lack what it was asked for.
        if (round === this.#asked) this.#listener.listing('whole');
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        if (this.#nc.isClosed()) break;
        this.#listener.listing(error);
        await pause(RETRY_MS);
      }
    }
    this.#running = false;
  }

  async #pages(): Promise<void> {
    this.#view.startListing();
    let after: string | null = null;
    let first: number | undefined;
    do {
      const answer: { revision: number; next: string | null } = await ask(this.#nc, this.#source.list, {
        limit: PAGE,
        after,
      });
      first ??= answer.revision;
      // Of a leader that is none any more: it may have what is gone.
      if (answer.revision < first) {
        this.#asked += 1;
        return;
      }
      const last = answer.next === null;
      const page = { revision: answer.revision, records: this.#source.records(answer), last };
      const changes = this.#view.list(page);
      this.#listener.heard();
      this.#listener.changed(changes, undefined);
      after = answer.next;
    } while (after !== null);
  }
}

/** At the next frame, or soon where there is none. */
export function onceAFrame(act: () => void): void {
  if (document.hidden) setTimeout(act, HIDDEN_MS);
  else requestAnimationFrame(act);
}
