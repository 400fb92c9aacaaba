// The label and tone of every state, and the order in which states are shown.

import type { HostStatus, OperationState, ShardOutcome, ShardState } from '../wire';

/** How a state is shown. The tone names the CSS class `tone-…`, which gives the color and the icon. */
export interface Badge {
  readonly label: string;
  readonly tone: string;
}

/** In display order: failures first. */
export const SHARD_STATES: Readonly<Record<ShardState, Badge>> = {
  teardown_failed: { label: 'teardown failed', tone: 'alarm' },
  failed: { label: 'failed', tone: 'bad' },
  degraded: { label: 'degraded', tone: 'warn' },
  tearing_down: { label: 'tearing down', tone: 'busy' },
  pending: { label: 'pending', tone: 'wait' },
  running: { label: 'running', tone: 'good' },
};

export const FAILED_STATES: readonly ShardState[] = ['teardown_failed', 'failed'];

/**
 * A decky's rank in a list: failures come first. A decky that is being torn down keeps its place, so that the row does
 * not move away from the pointer that clicked it.
 */
export const SHARD_RANK: Readonly<Record<ShardState, number>> = {
  teardown_failed: 0,
  failed: 1,
  degraded: 2,
  tearing_down: 3,
  pending: 3,
  running: 3,
};

export const HOST_STATES: Readonly<Record<HostStatus, Badge>> = {
  offline: { label: 'offline', tone: 'bad' },
  enrolled: { label: 'enrolled', tone: 'wait' },
  online: { label: 'online', tone: 'good' },
  decommissioned: { label: 'decommissioned', tone: 'off' },
};

/** Shown instead of the status of an online host whose agent cannot read its inventory. */
export const INVENTORY_ERROR: Badge = { label: 'inventory error', tone: 'warn' };

export const OPERATION_STATES: Readonly<Record<OperationState, Badge>> = {
  failed: { label: 'failed', tone: 'alarm' },
  timed_out: { label: 'timed out', tone: 'alarm' },
  running: { label: 'running', tone: 'busy' },
  queued: { label: 'queued', tone: 'wait' },
  succeeded: { label: 'succeeded', tone: 'good' },
  cancelled: { label: 'cancelled', tone: 'off' },
};

export const OUTCOMES: Readonly<Record<ShardOutcome, Badge>> = {
  failed: { label: 'failed', tone: 'alarm' },
  pending: { label: 'pending', tone: 'wait' },
  removed: { label: 'removed', tone: 'good' },
  absent: { label: 'absent', tone: 'off' },
};
