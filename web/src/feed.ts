// What just happened, in words: made of the changes that broadcasts tell, newest first. And the steps of each operation, as they
// were seen.

import { signal } from '@preact/signals';
import type { HostRecord, OperationRecord, ShardRecord } from './wire';
import type { Change } from './view';
import { link } from './route';
import { count, HOST_STATES, OPERATION_STATES, SHARD_STATES, target, type Look } from './words';

export interface Event {
  readonly id: number;
  readonly at: string;
  /** What it happened to. */
  readonly what: string;
  /** What became of it. */
  readonly became: Look;
  readonly detail: string;
  readonly href: string;
}

/** How many events are kept. */
const KEPT = 200;
/** How many steps of an operation are. */
const STEPS_KEPT = 100;

export const feed = signal<readonly Event[]>([]);

export const STARTED = 'its agent has started';

/** A step of an operation, as it was seen here. */
export interface Step {
  readonly at: string;
  readonly text: string;
}

export const steps = signal<ReadonlyMap<string, readonly Step[]>>(new Map());

const GONE: Look = { word: 'gone', look: 'off' };
const NOTE: Look = { word: '', look: 'wait' };

let last = 0;

export function forgetFeed(): void {
  feed.value = [];
  steps.value = new Map();
}

/** Something that happened to the page itself. */
export function note(text: string): void {
  add([{ at: new Date().toISOString(), what: text, became: NOTE, detail: '', href: '' }]);
}

type Draft = Omit<Event, 'id'>;

function add(events: readonly Draft[]): void {
  if (events.length === 0) return;
  const numbered = events.map((event) => ({ ...event, id: (last += 1) }));
  feed.value = [...numbered.reverse(), ...feed.value].slice(0, KEPT);
}

/** Tells the changes of one broadcast. */
export const tell = {
  shards: (changes: readonly Change<ShardRecord>[], at: string) => add(ofShards(changes, at)),
  hosts: (changes: readonly Change<HostRecord>[], at: string) => add(ofHosts(changes, at)),
  operations: (changes: readonly Change<OperationRecord>[], at: string) => add(ofOperations(changes, at)),
};

/** What happens to many deckies of a host at once is one event. */
function ofShards(changes: readonly Change<ShardRecord>[], at: string): Draft[] {
  const groups = new Map<string, { shards: ShardRecord[]; became: Look }>();
  for (const { before, after } of changes) {
    const shard = after ?? before;
    // That one is torn down is told by its operation.
    if (shard === undefined || before?.state === after?.state || after?.state === 'tearing_down') continue;
    const became = after === undefined ? GONE : SHARD_STATES[after.state];
    const key = `${shard.host_uuid} ${became.word}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { shards: [shard], became });
    else group.shards.push(shard);
  }
  return [...groups.values()].map(({ shards, became }) => {
    const [first] = shards as [ShardRecord];
    const one = shards.length === 1;
    return {
      at,
      what: one
        ? `${first.decky_id} on ${first.host_name}`
        : `${count(shards.length, 'decky', 'deckies')} on ${first.host_name}`,
      became,
      detail: became === GONE ? '' : (first.last_error ?? ''),
      href:
        became === GONE && first.operation_id !== null
          ? link('op', {}, first.operation_id)
          : link('deckies', { host: first.host_uuid }),
    };
  });
}

function ofHosts(changes: readonly Change<HostRecord>[], at: string): Draft[] {
  const told: Draft[] = [];
  for (const { before, after } of changes) {
    if (after === undefined) continue;
    const blind = after.inventory_error ?? '';
    if (before?.status === after.status && (before.inventory_error ?? '') === blind) continue;
    told.push({
      at,
      what: after.name,
      became:
        blind !== '' && after.status === 'online'
          ? { word: 'cannot see its deckies', look: 'warn' }
          : HOST_STATES[after.status],
      detail: blind,
      href: link('deckies', { host: after.host_uuid }),
    });
  }
  return told;
}

function ofOperations(changes: readonly Change<OperationRecord>[], at: string): Draft[] {
  const told: Draft[] = [];
  for (const { before, after } of changes) {
    if (after === undefined) continue;
    if (before === undefined || before.state !== after.state) {
      told.push({
        at,
        what: `teardown of ${target(after)}`,
        became: OPERATION_STATES[after.state],
        detail: after.error ?? '',
        href: link('op', {}, after.operation_id),
      });
    }
    if (before !== undefined && after.attempts > before.attempts && after.attempts > 1) {
      sawStep(after.operation_id, { at, text: `command sent again, for the ${after.attempts}. time` });
    }
    if (before?.state === 'queued' && after.state === 'running') {
      sawStep(after.operation_id, { at, text: STARTED });
    }
  }
  return told;
}

/** A step is told once, however often it is seen. */
export function sawStep(operation: string, step: Step): void {
  const known = steps.value.get(operation) ?? [];
  if (known.some((one) => one.text === step.text)) return;
  steps.value = new Map(steps.value).set(operation, [...known, step].slice(-STEPS_KEPT));
}
