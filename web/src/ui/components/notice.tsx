// Messages in place of content or above it: a notice, an empty list, and content that is still loading.

import type { ComponentChildren } from 'preact';
import type { HostRecord } from '../../wire';

interface NoticeProps {
  tone: 'alarm' | 'warn' | 'wait';
  title: string;
  text?: string;
  children?: ComponentChildren;
}

/** A problem and what to do about it. */
export function Notice({ tone, title, text, children }: NoticeProps) {
  return (
    <div class={`notice tone-${tone}`} role={tone === 'alarm' ? 'alert' : 'status'}>
      <span class="glyph" aria-hidden="true" />
      <div>
        <strong>{title}</strong>
        {text !== undefined && <p>{text}</p>}
        {children}
      </div>
    </div>
  );
}

/** An empty list: why it is empty, and what would fill it. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-glyph" aria-hidden="true" />
      <strong>{title}</strong>
      {children !== undefined && <p class="muted">{children}</p>}
    </div>
  );
}

/** A list of the deckies of these hosts that has no deckies yet: why, and what would fill it. */
export function NoDeckies({ hosts }: { hosts: readonly HostRecord[] }) {
  return (
    <Empty title="No deckies yet.">
      {hosts.length === 0 ? (
        <>
          Enroll the first host with <code>scuttle enroll NAME</code>, and start its agent.
        </>
      ) : hosts.every((host) => host.status === 'enrolled') ? (
        <>
          {hosts.length === 1 ? `The agent of ${hosts[0]!.name} has` : 'The agents of the hosts have'} not connected
          yet. Start {hosts.length === 1 ? 'it' : 'them'} with the command that <code>scuttle enroll</code> printed.
        </>
      ) : (
        'Deckies appear here when the agents report them.'
      )}
    </Empty>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">Loading {what}…</span>
      {[0, 1, 2, 3, 4].map((line) => (
        <span key={line} class="loading-line" aria-hidden="true" />
      ))}
    </div>
  );
}
