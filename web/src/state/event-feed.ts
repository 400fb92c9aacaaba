// The events of the overview, newest first, derived from the changes in broadcasts; and the progress steps of each
// operation, as this page saw them.

import { signal } from '@preact/signals';
import type { HostRecord, OperationRecord, ShardRecord } from '../wire';
import type { Change } from '../nats/view';
import { explainError, formatCount, formatTarget } from '../text/format';
import { HOST_STATES, INVENTORY_ERROR, OPERATION_STATES, SHARD_STATES, type Badge } from '../text/labels';
import { hrefTo } from './route';

export interface Event {
  readonly id: number;
  readonly at: string;
  readonly subject: string;
  /** The subject's new state. */
  readonly badge: Badge;
  readonly detail: string;
  readonly href: string;
}

const MAX_EVENTS = 200;
const MAX_STEPS = 100;

export const events = signal<readonly Event[]>([]);

export const STARTED_STEP = 'started by the agent';

/** A progress step of an operation. */
export interface Step {
  readonly at: string;
  readonly text: string;
}

/** The steps of each operation, by its id. */
export const steps = signal<ReadonlyMap<string, readonly Step[]>>(new Map());

const REMOVED: Badge = { label: 'removed', tone: 'off' };
const NO_BADGE: Badge = { label: '', tone: 'wait' };

let lastId = 0;

export function clearEvents(): void {
  events.value = [];
  steps.value = new Map();
}

/** Adds an event about the page itself, such as a lost connection. */
export function logPageEvent(text: string): void {
  addEvents([{ at: new Date().toISOString(), subject: text, badge: NO_BADGE, detail: '', href: '' }]);
}

type NewEvent = Omit<Event, 'id'>;

function addEvents(added: readonly NewEvent[]): void {
  if (added.length === 0) return;
  const numbered = added.map((event) => ({ ...event, id: (lastId += 1) }));
  events.value = [...numbered.reverse(), ...events.value].slice(0, MAX_EVENTS);
}

/** Adds the events of one broadcast. */
export const logChanges = {
  shards: (changes: readonly Change<ShardRecord>[], at: string) => addEvents(shardEvents(changes, at)),
  hosts: (changes: readonly Change<HostRecord>[], at: string) => addEvents(hostEvents(changes, at)),
  operations: (changes: readonly Change<OperationRecord>[], at: string) => addEvents(operationEvents(changes, at)),
};

/** Many deckies of one host that reach the same state in one broadcast make one event. */
function shardEvents(changes: readonly Change<ShardRecord>[], at: string): NewEvent[] {
  const groups = new Map<string, { shards: ShardRecord[]; badge: Badge }>();
  for (const { before, after } of changes) {
    const shard = after ?? before;
    // The operation's own event reports that a decky is being torn down.
    if (shard === undefined || before?.state === after?.state || after?.state === 'tearing_down') continue;
    const badge = after === undefined ? REMOVED : SHARD_STATES[after.state];
    const key = `${shard.host_uuid} ${badge.label}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { shards: [shard], badge });
    else group.shards.push(shard);
  }
  return [...groups.values()].map(({ shards, badge }) => {
    const [first] = shards as [ShardRecord];
    return {
      at,
      subject:
        shards.length === 1
          ? formatTarget(first)
          : `${formatCount(shards.length, 'decky', 'deckies')} on ${first.host_name}`,
      badge,
      detail: badge === REMOVED ? '' : explainError(first.last_error ?? ''),
      href:
        badge === REMOVED && first.operation_id !== null
          ? hrefTo('op', {}, first.operation_id)
          : hrefTo('deckies', { host: first.host_uuid }),
    };
  });
}

function hostEvents(changes: readonly Change<HostRecord>[], at: string): NewEvent[] {
  const added: NewEvent[] = [];
  for (const { before, after } of changes) {
    if (after === undefined) continue;
    const inventoryError = after.inventory_error ?? '';
    if (before?.status === after.status && (before.inventory_error ?? '') === inventoryError) continue;
    added.push({
      at,
      subject: after.name,
      badge: inventoryError !== '' && after.status === 'online' ? INVENTORY_ERROR : HOST_STATES[after.status],
      detail: inventoryError,
      href: hrefTo('deckies', { host: after.host_uuid }),
    });
  }
  return added;
}

function operationEvents(changes: readonly Change<OperationRecord>[], at: string): NewEvent[] {
  const added: NewEvent[] = [];
  for (const { before, after } of changes) {
    if (after === undefined) continue;
    if (before === undefined || before.state !== after.state) {
      added.push({
        at,
        subject: `teardown of ${formatTarget(after)}`,
        badge: OPERATION_STATES[after.state],
        detail: explainError(after.error ?? ''),
        href: hrefTo('op', {}, after.operation_id),
      });
    }
    if (before !== undefined && after.attempts > before.attempts && after.attempts > 1) {
      recordStep(after.operation_id, { at, text: `command resent (attempt ${after.attempts})` });
    }
    if (before?.state === 'queued' && after.state === 'running') {
      recordStep(after.operation_id, { at, text: STARTED_STEP });
    }
  }
  return added;
}

/** Records a step of an operation once, however often it is seen. */
export function recordStep(operation: string, step: Step): void {
  const known = steps.value.get(operation) ?? [];
  if (known.some((other) => other.text === step.text)) return;
  steps.value = new Map(steps.value).set(operation, [...known, step].slice(-MAX_STEPS));
}
