// The protocol's rule "a view without gaps", for any kind of record. Nothing else: no network, no clock, no screen.

/** A broadcast message: the records that changed and those that were removed. */
export interface Broadcast<R> {
  readonly revision: number;
  readonly updated: readonly R[];
  readonly removed: readonly Removal[];
}

export interface Removal {
  readonly key: string;
  readonly revision: number;
}

/** One page of a listing. */
export interface Page<R> {
  readonly revision: number;
  readonly records: readonly R[];
  readonly last: boolean;
}

/** One changed record. `before` is undefined for a new record, `after` for a removed one. */
export interface Change<R> {
  readonly key: string;
  readonly before: R | undefined;
  readonly after: R | undefined;
}

/** The newest known revision of one record. `record` is undefined when that revision removed it. */
interface Entry<R> {
  readonly revision: number;
  readonly record: R | undefined;
}

interface Listing {
  /** The revision of the first page. The listing contains every change up to it. */
  readonly revision: number;
  readonly keys: Set<string>;
}

/** How to read a record's key and revision. A record without a revision takes its message's. */
export interface Kind<R> {
  key(record: R): string;
  revision(record: R, messageRevision: number): number;
}

/** All known records of one kind. */
export class View<R> {
  readonly #kind: Kind<R>;
  readonly #entries = new Map<string, Entry<R>>();
  /** The last revision that was received or listed. */
  #revision = 0;
  /** The revision of the last listing's first page. */
  #listedRevision = 0;
  #listing: Listing | undefined;

  constructor(kind: Kind<R>) {
    this.#kind = kind;
  }

  get(key: string): R | undefined {
    return this.#entries.get(key)?.record;
  }

  *records(): IterableIterator<R> {
    for (const { record } of this.#entries.values()) if (record !== undefined) yield record;
  }

  get revision(): number {
    return this.#revision;
  }

  /** Applies a broadcast. `missed` means that an earlier message did not arrive, so the caller must list again. */
  applyBroadcast(broadcast: Broadcast<R>): { changes: Change<R>[]; missed: boolean } {
    const repeat = broadcast.updated.length === 0 && broadcast.removed.length === 0;
    // The listing already contains this broadcast. Applied late, it could bring back a removed record. But a repeat with
    // a lower revision than the last one is either late, or comes from a controller whose state went back in time.
    if (broadcast.revision <= this.#listedRevision) {
      return { changes: [], missed: repeat && broadcast.revision < this.#revision };
    }
    // A repeat carries the last revision, so any difference from ours means that a message was missed.
    const missed = repeat ? broadcast.revision !== this.#revision : broadcast.revision > this.#revision + 1;
    const changes: Change<R>[] = [];
    for (const record of broadcast.updated) {
      const revision = this.#kind.revision(record, broadcast.revision);
      this.#store(this.#kind.key(record), { revision, record }, changes);
    }
    for (const { key, revision } of broadcast.removed) this.#store(key, { revision, record: undefined }, changes);
    this.#revision = Math.max(this.#revision, broadcast.revision);
    return { changes, missed };
  }

  /** Begins a new listing, and discards the pages of an unfinished one. */
  beginListing(): void {
    this.#listing = undefined;
  }

  /** Applies the next page of a listing. */
  applyPage(page: Page<R>): Change<R>[] {
    const changes: Change<R>[] = [];
    if (this.#listing === undefined) {
      // Revisions of successive listings never fall within one history. A lower one means a different history (for
      // example a restored backup), so nothing that is known still holds.
      if (page.revision < this.#listedRevision) this.#reset(changes);
      this.#listing = { revision: page.revision, keys: new Set() };
      this.#listedRevision = page.revision;
      this.#revision = Math.max(this.#revision, page.revision);
    }
    for (const record of page.records) {
      const key = this.#kind.key(record);
      this.#listing.keys.add(key);
      this.#store(key, { revision: this.#kind.revision(record, page.revision), record }, changes);
    }
    if (page.last) this.#endListing(this.#listing, changes);
    return changes;
  }

  /** Removes the records that the listing does not contain and that are older than its first page. */
  #endListing({ revision, keys }: Listing, changes: Change<R>[]): void {
    for (const [key, entry] of this.#entries) {
      if (entry.revision >= revision || keys.has(key)) continue;
      this.#entries.delete(key);
      if (entry.record !== undefined) changes.push({ key, before: entry.record, after: undefined });
    }
    this.#listing = undefined;
  }

  #reset(changes: Change<R>[]): void {
    for (const [key, { record }] of this.#entries) {
      if (record !== undefined) changes.push({ key, before: record, after: undefined });
    }
    this.#entries.clear();
    this.#revision = 0;
  }

  /** Stores an entry unless a newer one is known. */
  #store(key: string, entry: Entry<R>, changes: Change<R>[]): void {
    const known = this.#entries.get(key);
    if (known !== undefined && known.revision > entry.revision) return;
    this.#entries.set(key, entry);
    if (known?.record !== undefined || entry.record !== undefined) {
      changes.push({ key, before: known?.record, after: entry.record });
    }
  }
}
