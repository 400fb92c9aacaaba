// The words and signs of states, and figures, times and lengths of time as people read them.

import type { HostStatus, OperationState, ShardOutcome, ShardState } from './wire';

/** How a state looks: its word, and the class that gives its colour and its sign. */
export interface Look {
  readonly word: string;
  readonly look: string;
}

/** In the order in which people want to see them: failures first. */
export const SHARD_STATES: Readonly<Record<ShardState, Look>> = {
  teardown_failed: { word: 'teardown failed', look: 'alarm' },
  failed: { word: 'failed', look: 'bad' },
  degraded: { word: 'degraded', look: 'warn' },
  tearing_down: { word: 'tearing down', look: 'going' },
  pending: { word: 'pending', look: 'wait' },
  running: { word: 'running', look: 'good' },
};

export const FAILURES: readonly ShardState[] = ['teardown_failed', 'failed'];

/** Where a decky stands in a list: what fails first. One that is torn down stays where it was, under the hand that asked. */
export const RANK: Readonly<Record<ShardState, number>> = {
  teardown_failed: 0,
  failed: 1,
  degraded: 2,
  tearing_down: 3,
  pending: 3,
  running: 3,
};

export const HOST_STATES: Readonly<Record<HostStatus, Look>> = {
  offline: { word: 'offline', look: 'bad' },
  enrolled: { word: 'never heard', look: 'wait' },
  online: { word: 'online', look: 'good' },
  decommissioned: { word: 'decommissioned', look: 'off' },
};

export const OPERATION_STATES: Readonly<Record<OperationState, Look>> = {
  failed: { word: 'failed', look: 'alarm' },
  timed_out: { word: 'timed out', look: 'alarm' },
  running: { word: 'running', look: 'going' },
  queued: { word: 'queued', look: 'wait' },
  succeeded: { word: 'succeeded', look: 'good' },
  cancelled: { word: 'cancelled', look: 'off' },
};

export const OUTCOMES: Readonly<Record<ShardOutcome, Look>> = {
  failed: { word: 'failed', look: 'alarm' },
  pending: { word: 'not known yet', look: 'wait' },
  removed: { word: 'removed', look: 'good' },
  absent: { word: 'was not there', look: 'off' },
};

const figures = new Intl.NumberFormat('en');

export const figure = (number: number) => figures.format(number);

export const count = (number: number, one: string, many = `${one}s`) =>
  `${figure(number)} ${number === 1 ? one : many}`;

/** What an operation tears down. */
export const target = (one: { host_name: string; decky_id: string | null }) =>
  one.decky_id === null ? `all of ${one.host_name}` : `${one.decky_id} on ${one.host_name}`;

/** How long: `40 ms`, `1.4 s`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function length(ms: number): string {
  if (ms < 950) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** How long ago, in whole seconds at the least. */
export function ago(at: string, now: number): string {
  const ms = now - Date.parse(at);
  if (ms < 1_500) return 'just now';
  return `${ms < 90_000 ? `${Math.round(ms / 1000)} s` : length(ms)} ago`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const calendar = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** The time of day here, and the day where it is not today's. */
export function time(at: string, now: number): string {
  const date = new Date(at);
  const today = date.toDateString() === new Date(now).toDateString();
  return today ? clock.format(date) : `${calendar.format(date)}, ${clock.format(date)}`;
}

const INSTANT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g;

/** A text of the controller with its times as they are told here. */
export const localTimes = (text: string, now: number) => text.replace(INSTANT, (at) => time(at, now));
