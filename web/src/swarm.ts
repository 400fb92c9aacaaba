// The swarm as the page knows it: three views, and what the pages read from them. Whatever is shown is computed from these
// signals, at most once a frame.

import { computed, signal } from '@preact/signals';
import type { HostRecord, OperationRecord, ShardRecord, ShardState } from './wire';
import { View, type Kind } from './view';
import { FAILURES } from './words';

export const shardKey = (shard: { host_uuid: string; decky_id: string }) => `${shard.host_uuid}/${shard.decky_id}`;

interface Kinds {
  shards: Kind<ShardRecord>;
  hosts: Kind<HostRecord>;
  operations: Kind<OperationRecord>;
}

const kinds: Kinds = {
  shards: { key: shardKey, revision: (shard) => shard.revision },
  hosts: { key: (host) => host.host_uuid, revision: (_, cameIn) => cameIn },
  operations: { key: (one) => one.operation_id, revision: (_, cameIn) => cameIn },
};

/** Names as people sort them: 2 before 10. */
export const byName = new Intl.Collator('en', { numeric: true }).compare;

/** Records in an order that is kept: what is new is sorted in, which costs little where most is in order already. */
class Sorted<R> {
  #records: R[] = [];
  readonly #key: (record: R) => string;
  readonly #compare: (a: R, b: R) => number;

  constructor(key: (record: R) => string, compare: (a: R, b: R) => number) {
    this.#key = key;
    this.#compare = compare;
  }

  of(view: View<R>): readonly R[] {
    const known = new Set<string>();
    const records: R[] = [];
    for (const old of this.#records) {
      const key = this.#key(old);
      const now = view.get(key);
      if (now === undefined) continue;
      known.add(key);
      records.push(now);
    }
    let added = false;
    for (const record of view.records()) {
      if (known.has(this.#key(record))) continue;
      added = true;
      records.push(record);
    }
    if (added) records.sort(this.#compare);
    this.#records = records;
    return records;
  }
}

/** What the page knows, from one sign-in to the next. */
export class Swarm {
  readonly views = {
    shards: new View(kinds.shards),
    hosts: new View(kinds.hosts),
    operations: new View(kinds.operations),
  };
  /** Counted up when a view has changed. */
  readonly #version = { shards: signal(0), hosts: signal(0), operations: signal(0) };
  readonly #sorted = {
    shards: new Sorted<ShardRecord>(
      kinds.shards.key,
      (a, b) => byName(a.host_name, b.host_name) || byName(a.decky_id, b.decky_id),
    ),
    hosts: new Sorted<HostRecord>(kinds.hosts.key, (a, b) => byName(a.name, b.name)),
    // Their ids sort by time: newest first.
    operations: new Sorted<OperationRecord>(kinds.operations.key, (a, b) => (a.operation_id < b.operation_id ? 1 : -1)),
  };

  changed(view: keyof Swarm['views']): void {
    this.#version[view].value += 1;
  }

  readonly shards = computed(() => (this.#version.shards.value, this.#sorted.shards.of(this.views.shards)));
  readonly hosts = computed(() => {
    void this.#version.hosts.value;
    return this.#sorted.hosts.of(this.views.hosts).filter((host) => host.status !== 'decommissioned');
  });
  readonly operations = computed(
    () => (this.#version.operations.value, this.#sorted.operations.of(this.views.operations)),
  );

  readonly openOperations = computed(() => this.operations.value.filter((one) => one.finished_at === null));

  /** A host's open operation on the whole of it. */
  readonly openWhole = computed(() => {
    const whole = this.openOperations.value.filter((one) => one.decky_id === null);
    return new Map(whole.map((one) => [one.host_uuid, one]));
  });

  /** Open operations on single deckies. */
  readonly openSingle = computed(() => {
    const open = new Map<string, OperationRecord>();
    for (const one of this.openOperations.value) {
      if (one.decky_id !== null) open.set(`${one.host_uuid}/${one.decky_id}`, one);
    }
    return open;
  });

  readonly byHost = computed(() => {
    const hosts = new Map<string, ShardRecord[]>();
    for (const shard of this.shards.value) {
      const shards = hosts.get(shard.host_uuid);
      if (shards === undefined) hosts.set(shard.host_uuid, [shard]);
      else shards.push(shard);
    }
    return hosts;
  });

  readonly counts = computed(() => countStates(this.shards.value));

  readonly services = computed(() => [...new Set(this.shards.value.flatMap((shard) => shard.services))].sort(byName));

  /** Deckies that failed, or could not be torn down. */
  readonly failures = computed(() => this.shards.value.filter((shard) => FAILURES.includes(shard.state)));

  shard(key: string): ShardRecord | undefined {
    void this.#version.shards.value;
    return this.views.shards.get(key);
  }

  host(id: string): HostRecord | undefined {
    void this.#version.hosts.value;
    return this.views.hosts.get(id);
  }

  operation(id: string): OperationRecord | undefined {
    void this.#version.operations.value;
    return this.views.operations.get(id);
  }

  /** The open operation that works on a decky. */
  openOn(shard: ShardRecord): OperationRecord | undefined {
    return this.openSingle.value.get(shardKey(shard)) ?? this.openWhole.value.get(shard.host_uuid);
  }
}

export type Counts = Readonly<Record<ShardState, number>>;

export function countStates(shards: Iterable<ShardRecord>): Counts {
  const counts = { teardown_failed: 0, failed: 0, degraded: 0, tearing_down: 0, pending: 0, running: 0 };
  for (const { state } of shards) counts[state] += 1;
  return counts;
}
