// Something that the user should read: what is the matter, and what to do.

import type { ComponentChildren } from 'preact';

interface Props {
  look: 'alarm' | 'warn' | 'wait';
  title: string;
  text?: string;
  children?: ComponentChildren;
}

export function Notice({ look, title, text, children }: Props) {
  return (
    <div class={`notice look-${look}`} role={look === 'alarm' ? 'alert' : 'status'}>
      <span class="sign" aria-hidden="true" />
      <div>
        <strong>{title}</strong>
        {text !== undefined && <p>{text}</p>}
        {children}
      </div>
    </div>
  );
}

/** Where there is nothing to show: why, and what would bring something here. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <span class="empty-sign" aria-hidden="true" />
      <strong>{title}</strong>
      {children !== undefined && <p class="muted">{children}</p>}
    </div>
  );
}

/** Where something is still on its way. */
export function Loading({ what }: { what: string }) {
  return (
    <div class="loading" role="status">
      <span class="unseen">Loading {what}…</span>
      {[0, 1, 2, 3, 4].map((line) => (
        <span key={line} class="loading-line" aria-hidden="true" />
      ))}
    </div>
  );
}
