// Formats numbers, times and durations for people. The labels of states are in labels.ts.

const numbers = new Intl.NumberFormat('en');

export const formatNumber = (value: number) => numbers.format(value);

/** A number with its noun: `1 decky`, `2,000 deckies`. */
export const formatCount = (value: number, singular: string, plural = `${singular}s`) =>
  `${formatNumber(value)} ${value === 1 ? singular : plural}`;

/** A host in a question or an answer: its name, and its id if that differs from the name. */
export const formatHost = (name: string, id: string) => (name === id ? name : `${name} (${id})`);

/** The errors that the controller reports as one word, perhaps followed by a reason, and their texts for people. */
const DEADLINE_ERRORS: Readonly<Record<string, string>> = {
  undelivered: 'the host’s agent never started it',
  unfinished: 'the agent started but did not report back in time',
};

/** The error of an operation or a decky as a text for people. */
export function explainError(error: string): string {
  const [, word = '', reason = ''] = /^(undelivered|unfinished)(: .*)?$/s.exec(error) ?? [];
  const text = DEADLINE_ERRORS[word];
  return text === undefined ? error : text + reason;
}

/** The target of an operation. */
export const formatTarget = (operation: { host_name: string; decky_id: string | null }) =>
  operation.decky_id === null ? `all of ${operation.host_name}` : `${operation.decky_id} on ${operation.host_name}`;

/** A duration in one unit: `40 ms`, `1.4 s`, `12 s`, `3 min`, `5 h`, `2 d`. */
export function formatDuration(ms: number): string {
  if (ms < 950) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** The time since `at`, in whole seconds or larger units. */
export function formatAge(at: string, now: number): string {
  const ms = now - Date.parse(at);
  if (ms < 1_500) return 'just now';
  return `${ms < 90_000 ? `${Math.round(ms / 1000)} s` : formatDuration(ms)} ago`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const calendar = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short' });

/** The local time of day, with the date if it is not today. */
export function formatTime(at: string, now: number): string {
  const date = new Date(at);
  const today = date.toDateString() === new Date(now).toDateString();
  return today ? clock.format(date) : `${calendar.format(date)}, ${clock.format(date)}`;
}

const INSTANT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g;

/** Replaces the UTC times in a text from the controller with local times. */
export const localizeTimes = (text: string, now: number) => text.replace(INSTANT, (at) => formatTime(at, now));
