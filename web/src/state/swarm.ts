// The swarm as the page knows it: three views, and the signals that are computed from them. All pages read these signals.

import { computed, signal } from '@preact/signals';
import type { HostRecord, OperationRecord, ShardRecord, ShardState } from '../wire';
import { View, type Kind } from '../nats/view';
import { FAILED_STATES } from '../text/labels';

export const shardKey = (shard: { host_uuid: string; decky_id: string }) => `${shard.host_uuid}/${shard.decky_id}`;

interface Kinds {
  shards: Kind<ShardRecord>;
  hosts: Kind<HostRecord>;
  operations: Kind<OperationRecord>;
}

const KINDS: Kinds = {
  shards: { key: shardKey, revision: (shard) => shard.revision },
  hosts: { key: (host) => host.host_uuid, revision: (_, messageRevision) => messageRevision },
  operations: { key: (operation) => operation.operation_id, revision: (_, messageRevision) => messageRevision },
};

/** Compares names in natural order: `decky-2` before `decky-10`. */
export const compareNames = new Intl.Collator('en', { numeric: true }).compare;

/** The sorted records of a view. It sorts only when records were added, and then most are in order already. */
class SortedRecords<R> {
  #records: R[] = [];
  readonly #key: (record: R) => string;
  readonly #compare: (a: R, b: R) => number;

  constructor(key: (record: R) => string, compare: (a: R, b: R) => number) {
    this.#key = key;
    this.#compare = compare;
  }

  update(view: View<R>): readonly R[] {
    const known = new Set<string>();
    const records: R[] = [];
    for (const old of this.#records) {
      const key = this.#key(old);
      const current = view.get(key);
      if (current === undefined) continue;
      known.add(key);
      records.push(current);
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

/** The state of the swarm during one session. */
export class Swarm {
  readonly views = {
    shards: new View(KINDS.shards),
    hosts: new View(KINDS.hosts),
    operations: new View(KINDS.operations),
  };
  /** Incremented when a view has changed. Reading it subscribes to the view. */
  readonly #version = { shards: signal(0), hosts: signal(0), operations: signal(0) };
  readonly #sorted = {
    shards: new SortedRecords<ShardRecord>(
      KINDS.shards.key,
      (a, b) => compareNames(a.host_name, b.host_name) || compareNames(a.decky_id, b.decky_id),
    ),
    hosts: new SortedRecords<HostRecord>(KINDS.hosts.key, (a, b) => compareNames(a.name, b.name)),
    // Operation ids sort by time: newest first.
    operations: new SortedRecords<OperationRecord>(KINDS.operations.key, (a, b) =>
      a.operation_id < b.operation_id ? 1 : -1,
    ),
  };

  markChanged(view: keyof Swarm['views']): void {
    this.#version[view].value += 1;
  }

  readonly shards = computed(() => (this.#version.shards.value, this.#sorted.shards.update(this.views.shards)));
  readonly hosts = computed(() => {
    void this.#version.hosts.value;
    return this.#sorted.hosts.update(this.views.hosts).filter((host) => host.status !== 'decommissioned');
  });
  readonly operations = computed(
    () => (this.#version.operations.value, this.#sorted.operations.update(this.views.operations)),
  );

  readonly openOperations = computed(() => this.operations.value.filter((operation) => operation.finished_at === null));

  /** The open whole-host operation of each host, by host id. */
  readonly openHostOperations = computed(() => {
    const open = this.openOperations.value.filter((operation) => operation.decky_id === null);
    return new Map(open.map((operation) => [operation.host_uuid, operation]));
  });

  /** The open operations on single deckies, by shard key. */
  readonly openDeckyOperations = computed(() => {
    const open = new Map<string, OperationRecord>();
    for (const operation of this.openOperations.value) {
      if (operation.decky_id !== null) open.set(`${operation.host_uuid}/${operation.decky_id}`, operation);
    }
    return open;
  });

  readonly shardsByHost = computed(() => {
    const hosts = new Map<string, ShardRecord[]>();
    for (const shard of this.shards.value) {
      const shards = hosts.get(shard.host_uuid);
      if (shards === undefined) hosts.set(shard.host_uuid, [shard]);
      else shards.push(shard);
    }
    return hosts;
  });

  readonly counts = computed(() => countStates(this.shards.value));

  readonly services = computed(() =>
    [...new Set(this.shards.value.flatMap((shard) => shard.services))].sort(compareNames),
  );

  /** Deckies that failed, or whose teardown failed. */
  readonly failedShards = computed(() => this.shards.value.filter((shard) => FAILED_STATES.includes(shard.state)));

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

  /** The open operation that covers a decky. */
  openOperationFor(shard: ShardRecord): OperationRecord | undefined {
    return this.openDeckyOperations.value.get(shardKey(shard)) ?? this.openHostOperations.value.get(shard.host_uuid);
  }
}

export type Counts = Readonly<Record<ShardState, number>>;

export function countStates(shards: Iterable<ShardRecord>): Counts {
  const counts = { teardown_failed: 0, failed: 0, degraded: 0, tearing_down: 0, pending: 0, running: 0 };
  for (const { state } of shards) counts[state] += 1;
  return counts;
}
