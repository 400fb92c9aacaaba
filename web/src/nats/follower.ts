// Keeps one view up to date: subscribes to its broadcasts, lists its records, and lists again after a gap. Broadcasts
// are applied at most once per frame. The rules of the view itself are in view.ts.

import type { NatsConnection } from '@nats-io/nats-core';
import { parseEscaped } from '../text/escape';
import { RequestError, sendRequest, sleep } from './client';
import type { Broadcast, Change, View } from './view';

/** The subjects of a view, and how to read their messages. */
export interface Source<R> {
  readonly list: string;
  readonly updated: string;
  readBroadcast(message: unknown): Broadcast<R>;
  readRecords(reply: unknown): readonly R[];
}

export interface Listener<R> {
  /** Records changed. `at` is the broadcast's time, or undefined when a listing found the change. */
  onChanges(changes: readonly Change<R>[], at: string | undefined): void;
  /** A message from the controller arrived. */
  onActivity(): void;
  /** A listing started or is complete; or it failed, and is tried again. */
  onListing(state: 'started' | 'complete' | RequestError): void;
}

/** Records per page: the protocol's maximum. */
const PAGE_SIZE = 1_000;
const RELIST_DELAY_MS = 2_000;
/** A hidden page has no frames, so changes are applied after this delay. */
const HIDDEN_PAGE_DELAY_MS = 250;

export class Follower<R> {
  readonly #nc: NatsConnection;
  readonly #source: Source<R>;
  readonly #view: View<R>;
  readonly #listener: Listener<R>;
  #queue: unknown[] = [];
  /** Counts the listings that were requested. A request during a listing starts another one after it. */
  #requested = 0;
  #listing = false;

  constructor(nc: NatsConnection, source: Source<R>, view: View<R>, listener: Listener<R>) {
    this.#nc = nc;
    this.#source = source;
    this.#view = view;
    this.#listener = listener;
    nc.subscribe(source.updated, {
      callback: (error, message) => {
        if (error === null) this.#enqueue(parseEscaped(message.string()));
      },
    });
    this.relist();
  }

  /**
   * Lists all records: at the start, after a gap, after a reconnect, and now and then for fields that are not
   * broadcast.
   */
  relist(): void {
    this.#requested += 1;
    if (!this.#listing) void this.#list();
  }

  #enqueue(message: unknown): void {
    this.#queue.push(message);
    if (this.#queue.length === 1) runNextFrame(() => this.#applyQueue());
  }

  #applyQueue(): void {
    const messages = this.#queue;
    this.#queue = [];
    this.#listener.onActivity();
    let missed = false;
    for (const message of messages) {
      const result = this.#view.applyBroadcast(this.#source.readBroadcast(message));
      missed ||= result.missed;
      if (result.changes.length > 0) this.#listener.onChanges(result.changes, (message as { at: string }).at);
    }
    if (missed) this.relist();
  }

  async #list(): Promise<void> {
    this.#listing = true;
    let done = 0;
    while (done !== this.#requested && !this.#nc.isClosed()) {
      const round = this.#requested;
      this.#listener.onListing('started');
      try {
        await this.#listPages();
        done = round;
        // When another listing was requested meanwhile, this one may lack what that request is for.
        if (round === this.#requested) this.#listener.onListing('complete');
      } catch (error) {
        if (!(error instanceof RequestError)) throw error;
        if (this.#nc.isClosed()) break;
        this.#listener.onListing(error);
        await sleep(RELIST_DELAY_MS);
      }
    }
    this.#listing = false;
  }

  async #listPages(): Promise<void> {
    this.#view.beginListing();
    let after: string | null = null;
    let first: number | undefined;
    do {
      const reply: { revision: number; next: string | null } = await sendRequest(this.#nc, this.#source.list, {
        limit: PAGE_SIZE,
        after,
      });
      first ??= reply.revision;
      // A page with a lower revision comes from a deposed leader and may contain removed records. Start again.
      if (reply.revision < first) {
        this.#requested += 1;
        return;
      }
      const last = reply.next === null;
      const changes = this.#view.applyPage({
        revision: reply.revision,
        records: this.#source.readRecords(reply),
        last,
      });
      this.#listener.onActivity();
      this.#listener.onChanges(changes, undefined);
      after = reply.next;
    } while (after !== null);
  }
}

/** Runs `action` at the next frame, or after a short delay while the page is hidden. */
export function runNextFrame(action: () => void): void {
  if (document.hidden) setTimeout(action, HIDDEN_PAGE_DELAY_MS);
  else requestAnimationFrame(action);
}
