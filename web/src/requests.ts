// What was asked for from this page: buttons that are armed, requests on their way, refusals, and the operations that came of
// them.

import { batch, signal } from '@preact/signals';
import { ask, change, Refused } from './bus';
import { session } from './session';
import { CANCEL, GET_OPERATION, TEARDOWN } from './subjects';
import { shardKey } from './swarm';
import type {
  CancelAccepted,
  OperationGetAnswer,
  OperationRecord,
  ShardRecord,
  TeardownAccepted,
  TeardownPlan,
  TeardownRequest,
} from './wire';

/** How long an armed button waits for the second click. */
export const ARMED_MS = 4_000;

/** Buttons that a second click would commit, by what they are for. */
export const armed = signal<ReadonlySet<string>>(new Set());
/** What is asked for and not answered. */
export const asking = signal<ReadonlySet<string>>(new Set());
/** Why the last request for a target came to nothing. */
export const refusals = signal<ReadonlyMap<string, string>>(new Map());
/** The operations that were asked for here, newest first. */
export const mine = signal<readonly string[]>([]);
/** What a screen reader says next. */
export const announcement = signal('');

const disarming = new Map<string, number>();

export function forgetRequests(): void {
  batch(() => {
    armed.value = new Set();
    asking.value = new Set();
    refusals.value = new Map();
    mine.value = [];
  });
}

/** The first click arms, and says so; the second commits. */
export function press(key: string, commit: () => void): void {
  if (armed.value.has(key)) {
    disarm(key);
    commit();
    return;
  }
  batch(() => {
    armed.value = with_(armed.value, key);
    dismiss(key);
    announcement.value = 'Armed: press again within four seconds.';
  });
  disarming.set(
    key,
    window.setTimeout(() => disarm(key), ARMED_MS),
  );
}

export function disarm(key: string): void {
  clearTimeout(disarming.get(key));
  disarming.delete(key);
  armed.value = without(armed.value, key);
}

export function dismiss(key: string): void {
  if (!refusals.value.has(key)) return;
  const left = new Map(refusals.value);
  left.delete(key);
  refusals.value = left;
}

/** Tears down one decky. */
export const teardown = (shard: { host_uuid: string; decky_id: string }) =>
  tracked(shardKey(shard), () => request({ host_uuid: shard.host_uuid, decky_id: shard.decky_id }));

/** Tears down what could not be torn down: each decky by itself, so that what was deployed since is not touched. */
export function retry(shards: readonly ShardRecord[]): void {
  for (const shard of shards) void teardown(shard);
}

/** What would go with a whole host. */
export function plan(host: string): Promise<TeardownPlan> {
  const nc = session.value?.nc;
  if (nc === undefined) return Promise.reject(new Refused('disconnected', 'Nobody is signed in.'));
  return ask<TeardownPlan>(nc, TEARDOWN, { host_uuid: host, dry_run: true } satisfies TeardownRequest);
}

/** Tears down a whole host as planned; throws `plan_changed` for the dialog to show what would go now. */
export const teardownHost = (host: string, expected: string, reason: string) =>
  tracked(host, () => request({ host_uuid: host, expect_plan: expected, reason: reason === '' ? null : reason }));

export const cancel = (operation: OperationRecord) =>
  tracked(`cancel ${operation.operation_id}`, async () => {
    await change<CancelAccepted>(connection(), CANCEL, { operation_id: operation.operation_id });
    announcement.value = 'The operation was cancelled.';
  });

/** An operation with its deckies. */
export async function whole(id: string): Promise<OperationRecord> {
  const answer = await ask<OperationGetAnswer>(connection(), GET_OPERATION, { operation_id: id });
  return answer.operation;
}

function connection() {
  const nc = session.value?.nc;
  if (nc === undefined) throw new Refused('disconnected', 'Nobody is signed in.');
  return nc;
}

async function request(body: TeardownRequest): Promise<void> {
  const accepted = await change<TeardownAccepted>(connection(), TEARDOWN, body);
  mine.value = [accepted.operation_id, ...mine.value.filter((id) => id !== accepted.operation_id)];
  announcement.value = `Accepted: ${accepted.detail} for ${accepted.decky_id ?? 'all'} on ${accepted.host_name}.`;
}

/** Marks a target as asked for until there is an answer, and keeps why it was refused. Gives whether it went through. */
async function tracked(key: string, act: () => Promise<void>): Promise<Refused | undefined> {
  batch(() => {
    asking.value = with_(asking.value, key);
    dismiss(key);
  });
  try {
    await act();
    return undefined;
  } catch (error) {
    const refused = error instanceof Refused ? error : new Refused('disconnected', String(error));
    batch(() => {
      refusals.value = new Map(refusals.value).set(key, refused.message);
      announcement.value = `Refused: ${refused.message}`;
    });
    return refused;
  } finally {
    asking.value = without(asking.value, key);
  }
}

function with_<T>(set: ReadonlySet<T>, one: T): ReadonlySet<T> {
  return new Set(set).add(one);
}

function without<T>(set: ReadonlySet<T>, one: T): ReadonlySet<T> {
  if (!set.has(one)) return set;
  const left = new Set(set);
  left.delete(one);
  return left;
}
