// Messages in place of content or above it: a notice, an empty list, and content that is still loading.

import type { ComponentChildren } from 'preact';

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
