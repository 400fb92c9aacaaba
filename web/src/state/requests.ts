// The requests that this page sends: armed buttons, pending requests, rejections, and the operations that the requests
// started.

import { batch, signal } from '@preact/signals';
import { RequestError, sendChange, sendRequest } from '../nats/client';
import { CANCEL, GET_OPERATION, TEARDOWN } from '../nats/subjects';
import type {
  CancelAccepted,
  OperationGetReply,
  OperationRecord,
  ShardRecord,
  TeardownAccepted,
  TeardownPlan,
  TeardownRequest,
} from '../wire';
import { formatHost } from '../text/format';
import { isOperator, session } from './session';
import { shardKey } from './swarm';

/** How long an armed button waits for the second click. controls.css has the same time. */
const ARMED_MS = 4_000;

/** The keys of the buttons that are armed: a second click confirms. */
export const armed = signal<ReadonlySet<string>>(new Set());
/** The keys of the requests that have no reply yet. */
export const pendingRequests = signal<ReadonlySet<string>>(new Set());
/** Why the last request failed, by its key. */
export const rejections = signal<ReadonlyMap<string, string>>(new Map());
/** The ids of the operations that this page requested, newest first. */
export const myOperations = signal<readonly string[]>([]);
/** The text that a screen reader announces next. */
export const announcement = signal('');

const disarmTimers = new Map<string, number>();

export function clearRequests(): void {
  batch(() => {
    armed.value = new Set();
    pendingRequests.value = new Set();
    rejections.value = new Map();
    myOperations.value = [];
  });
}

/** Handles a click on a two-step button: the first click arms it and announces that, the second calls `commit`. */
export function armOrCommit(key: string, commit: () => void): void {
  if (armed.value.has(key)) {
    disarm(key);
    commit();
    return;
  }
  batch(() => {
    armed.value = withEntry(armed.value, key);
    dismissRejection(key);
    announcement.value = 'Press again within four seconds to confirm.';
  });
  disarmTimers.set(
    key,
    window.setTimeout(() => disarm(key), ARMED_MS),
  );
}

export function disarm(key: string): void {
  clearTimeout(disarmTimers.get(key));
  disarmTimers.delete(key);
  armed.value = withoutEntry(armed.value, key);
}

export function dismissRejection(key: string): void {
  if (!rejections.value.has(key)) return;
  const remaining = new Map(rejections.value);
  remaining.delete(key);
  rejections.value = remaining;
}

/** The subject of a teardown on this host. An operator who is limited to hosts may use only the host's subject. */
const teardownSubject = (host: string) => (isOperator() ? TEARDOWN : `${TEARDOWN}.${host}`);

/** Tears down one decky. */
export const requestTeardown = (shard: { host_uuid: string; decky_id: string }) =>
  trackRequest(shardKey(shard), () => sendTeardown({ host_uuid: shard.host_uuid, decky_id: shard.decky_id }));

/** Retries failed teardowns, one decky at a time, so that deckies deployed since then are not touched. */
export function retryTeardowns(shards: readonly ShardRecord[]): void {
  for (const shard of shards) void trackRequest(shardKey(shard), () => sendRetry(shard));
}

/** Retries a failed teardown, unless the decky was deployed again since. */
async function sendRetry(shard: ShardRecord): Promise<void> {
  const { host_uuid, decky_id } = shard;
  const subject = teardownSubject(host_uuid);
  const plan = await sendRequest<TeardownPlan>(connection(), subject, { host_uuid, decky_id, dry_run: true });
  const isSame = plan.targets.every(
    (target) => target.state === 'teardown_failed' && target.deployment === shard.deployment,
  );
  if (!isSame) throw new RequestError('plan_changed', 'The decky has changed since its teardown failed.');
  await sendTeardown({ host_uuid, decky_id, expect_plan: plan.plan });
}

/** Returns what the teardown of a whole host would remove. */
export function requestPlan(host: string): Promise<TeardownPlan> {
  const nc = session.value?.nc;
  if (nc === undefined) return Promise.reject(notSignedIn());
  const request = { host_uuid: host, dry_run: true } satisfies TeardownRequest;
  return sendRequest<TeardownPlan>(nc, teardownSubject(host), request);
}

/** Tears down a whole host as planned. Returns the error `plan_changed` when the plan is out of date. */
export const requestHostTeardown = (host: string, plan: string, reason: string) =>
  trackRequest(host, () => sendTeardown({ host_uuid: host, expect_plan: plan, reason: reason === '' ? null : reason }));

export const requestCancel = (operation: OperationRecord) =>
  trackRequest(`cancel ${operation.operation_id}`, async () => {
    await sendChange<CancelAccepted>(connection(), CANCEL, { operation_id: operation.operation_id });
    announcement.value = 'The operation was cancelled.';
  });

/** Returns an operation with its deckies, which lists and broadcasts omit. */
export async function fetchOperation(id: string): Promise<OperationRecord> {
  const reply = await sendRequest<OperationGetReply>(connection(), GET_OPERATION, { operation_id: id });
  return reply.operation;
}

function connection() {
  const nc = session.value?.nc;
  if (nc === undefined) throw notSignedIn();
  return nc;
}

const notSignedIn = () => new RequestError('disconnected', 'Not signed in.');

async function sendTeardown(body: TeardownRequest): Promise<void> {
  const accepted = await sendChange<TeardownAccepted>(connection(), teardownSubject(body.host_uuid), body);
  myOperations.value = [accepted.operation_id, ...myOperations.value.filter((id) => id !== accepted.operation_id)];
  announcement.value = `Accepted: ${accepted.detail} for ${accepted.decky_id ?? 'all deckies'} on ${formatHost(accepted.host_name, accepted.host_uuid)}.`;
}

/** Runs a request, marks its key as pending until the reply arrives, and keeps the error that it returns, if any. */
async function trackRequest(key: string, send: () => Promise<void>): Promise<RequestError | undefined> {
  batch(() => {
    pendingRequests.value = withEntry(pendingRequests.value, key);
    dismissRejection(key);
  });
  try {
    await send();
    return undefined;
  } catch (caught) {
    const error = caught instanceof RequestError ? caught : new RequestError('disconnected', String(caught));
    batch(() => {
      rejections.value = new Map(rejections.value).set(key, error.message);
      announcement.value = `Rejected: ${error.message}`;
    });
    return error;
  } finally {
    pendingRequests.value = withoutEntry(pendingRequests.value, key);
  }
}

function withEntry<T>(set: ReadonlySet<T>, entry: T): ReadonlySet<T> {
  return new Set(set).add(entry);
}

function withoutEntry<T>(set: ReadonlySet<T>, entry: T): ReadonlySet<T> {
  if (!set.has(entry)) return set;
  const remaining = new Set(set);
  remaining.delete(entry);
  return remaining;
}
