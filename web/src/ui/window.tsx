// A long list of which only what is seen is in the document. It scrolls with the page.

import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';

/** Where an item stands. */
export type Place = Readonly<{ transform: string }>;

interface Props<T> {
  items: readonly T[];
  /** How high an item is: the same for all, or for each. */
  height: number | ((item: T) => number);
  children: (item: T, index: number, place: Place) => ComponentChildren;
  /** The item that has to be seen. */
  reveal?: number | undefined;
  role?: 'rowgroup' | 'list' | 'group';
  label?: string;
}

/** How far beyond what is seen items are there already. */
const MARGIN_PX = 320;

export function Window<T>({ items, height, children, reveal, role, label }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ from: 0, to: 0 });
  const offsets = useMemo(() => offsetsOf(items, height), [items, height]);
  const total = offsets[items.length] ?? 0;

  useLayoutEffect(() => {
    const look = () => {
      const top = -(box.current?.getBoundingClientRect().top ?? 0);
      const from = find(offsets, top - MARGIN_PX);
      const to = Math.min(items.length, find(offsets, top + innerHeight + MARGIN_PX) + 1);
      setRange((old) => (old.from === from && old.to === to ? old : { from, to }));
    };
    look();
    addEventListener('scroll', look, { passive: true });
    addEventListener('resize', look);
    return () => {
      removeEventListener('scroll', look);
      removeEventListener('resize', look);
    };
  }, [offsets]);

  useEffect(() => {
    if (reveal === undefined || box.current === null) return;
    const top = box.current.getBoundingClientRect().top + (offsets[reveal] ?? 0);
    const bottom = box.current.getBoundingClientRect().top + (offsets[reveal + 1] ?? 0);
    if (top < HEADER_PX) scrollBy(0, top - HEADER_PX);
    else if (bottom > innerHeight - FOOTER_PX) scrollBy(0, bottom - innerHeight + FOOTER_PX);
  }, [reveal]);

  const seen = [];
  for (let index = range.from; index < Math.min(range.to, items.length); index += 1) {
    const item = items[index]!;
    seen.push(children(item, index, { transform: `translateY(${offsets[index]}px)` }));
  }
  return (
    <div class="window" ref={box} role={role} aria-label={label} style={{ height: `${total}px` }}>
      {seen}
    </div>
  );
}

/** What the page's head and foot cover. */
const HEADER_PX = 150;
const FOOTER_PX = 90;

function offsetsOf<T>(items: readonly T[], height: Props<T>['height']): Float64Array {
  const offsets = new Float64Array(items.length + 1);
  items.forEach((item, index) => {
    offsets[index + 1] = offsets[index]! + (typeof height === 'number' ? height : height(item));
  });
  return offsets;
}

/** The item at this height. */
function find(offsets: Float64Array, y: number): number {
  let low = 0;
  let high = offsets.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (offsets[middle]! <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}
