// The protocol's rule "A view without gaps", for any kind of record, and nothing else: no network, no clock, no screen.

/** A broadcast: what changed, and what went. */
export interface Told<R> {
  readonly revision: number;
  readonly updated: readonly R[];
  readonly removed: readonly Gone[];
}

/** A record that is no more. */
export interface Gone {
  readonly key: string;
  readonly revision: number;
}

/** One page of a listing. */
export interface Page<R> {
  readonly revision: number;
  readonly records: readonly R[];
  readonly last: boolean;
}

/** What became of one record: none before, it is new; none after, it is gone. */
export interface Change<R> {
  readonly key: string;
  readonly before: R | undefined;
  readonly after: R | undefined;
}

/** The highest revision that is known of one record. */
interface Entry<R> {
  readonly revision: number;
  readonly record: R | undefined;
}

interface Listing {
  /** The revision of its first page; what is told up to there, it contains. */
  readonly revision: number;
  readonly keys: Set<string>;
}

/** How records say who they are, and which message told them; a record that does not say it is as new as what it came in. */
export interface Kind<R> {
  key(record: R): string;
  revision(record: R, cameIn: number): number;
}

/** All records of one kind, as far as they are known. */
export class View<R> {
  readonly #kind: Kind<R>;
  readonly #entries = new Map<string, Entry<R>>();
  /** The last revision that was heard or listed. */
  #revision = 0;
  /** The revision of the last listing's first page. */
  #listed = 0;
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

  /** Takes in a broadcast; `missed` says that there was one before it that did not come, so that all is to be listed again. */
  hear(told: Told<R>): { changes: Change<R>[]; missed: boolean } {
    const repeat = told.updated.length === 0 && told.removed.length === 0;
    // The listing contains it: late, it would bring back what the listing no longer had. But what is repeated lower than it was is
    // either late, or the word of a controller whose record went back.
    if (told.revision <= this.#listed) return { changes: [], missed: repeat && told.revision < this.#revision };
    // A repeat tells the last revision, so another one than ours is missed, too.
    const missed = repeat ? told.revision !== this.#revision : told.revision > this.#revision + 1;
    const changes: Change<R>[] = [];
    for (const record of told.updated) {
      this.#keep(this.#kind.key(record), { revision: this.#kind.revision(record, told.revision), record }, changes);
    }
    for (const { key, revision } of told.removed) this.#keep(key, { revision, record: undefined }, changes);
    this.#revision = Math.max(this.#revision, told.revision);
    return { changes, missed };
  }

  /** Forgets the pages of a listing that was broken off. */
  startListing(): void {
    this.#listing = undefined;
  }

  /** Takes in the next page of a listing. */
  list(page: Page<R>): Change<R>[] {
    const changes: Change<R>[] = [];
    if (this.#listing === undefined) {
      // Listings follow one another, so a lower one than the last is of another record: nothing of the old one holds.
      if (page.revision < this.#listed) this.#startOver(changes);
      this.#listing = { revision: page.revision, keys: new Set() };
      this.#listed = page.revision;
      this.#revision = Math.max(this.#revision, page.revision);
    }
    for (const record of page.records) {
      const key = this.#kind.key(record);
      this.#listing.keys.add(key);
      this.#keep(key, { revision: this.#kind.revision(record, page.revision), record }, changes);
    }
    if (page.last) this.#endListing(this.#listing, changes);
    return changes;
  }

  #endListing({ revision, keys }: Listing, changes: Change<R>[]): void {
    for (const [key, entry] of this.#entries) {
      if (entry.revision >= revision || keys.has(key)) continue;
      this.#entries.delete(key);
      if (entry.record !== undefined) changes.push({ key, before: entry.record, after: undefined });
    }
    this.#listing = undefined;
  }

  #startOver(changes: Change<R>[]): void {
    for (const [key, { record }] of this.#entries) {
      if (record !== undefined) changes.push({ key, before: record, after: undefined });
    }
    this.#entries.clear();
    this.#revision = 0;
  }

  #keep(key: string, entry: Entry<R>, changes: Change<R>[]): void {
    const known = this.#entries.get(key);
    if (known !== undefined && known.revision > entry.revision) return;
    this.#entries.set(key, entry);
    if (known?.record !== undefined || entry.record !== undefined) {
      changes.push({ key, before: known?.record, after: entry.record });
    }
  }
}
