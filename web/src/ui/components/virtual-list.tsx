// A long list of which only the visible items are in the document. It scrolls with the page.

import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';

/** The position of an item in the list, as a style. */
export type Position = Readonly<{ transform: string }>;

interface VirtualListProps<T> {
  items: readonly T[];
  /** The height of the items in pixels: one for all, or one for each. */
  height: number | ((item: T) => number);
  children: (item: T, index: number, position: Position) => ComponentChildren;
  /** The index of an item to scroll into view. */
  reveal?: number | undefined;
  role?: 'rowgroup' | 'list' | 'group';
  label?: string;
}

/** How far beyond the visible area items are rendered. */
const OVERSCAN_PX = 320;

export function VirtualList<T>({ items, height, children, reveal, role, label }: VirtualListProps<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState({ from: 0, to: 0 });
  const offsets = useMemo(() => computeOffsets(items, height), [items, height]);
  const total = offsets[items.length] ?? 0;

  useLayoutEffect(() => {
    const updateRange = () => {
      const top = -(box.current?.getBoundingClientRect().top ?? 0);
      const from = indexAt(offsets, top - OVERSCAN_PX);
      const to = Math.min(items.length, indexAt(offsets, top + innerHeight + OVERSCAN_PX) + 1);
      setRange((old) => (old.from === from && old.to === to ? old : { from, to }));
    };
    updateRange();
    addEventListener('scroll', updateRange, { passive: true });
    addEventListener('resize', updateRange);
    return () => {
      removeEventListener('scroll', updateRange);
      removeEventListener('resize', updateRange);
    };
  }, [offsets]);

  useEffect(() => {
    if (reveal === undefined || box.current === null) return;
    const top = box.current.getBoundingClientRect().top + (offsets[reveal] ?? 0);
    const bottom = box.current.getBoundingClientRect().top + (offsets[reveal + 1] ?? 0);
    if (top < HEADER_PX) scrollBy(0, top - HEADER_PX);
    else if (bottom > innerHeight - FOOTER_PX) scrollBy(0, bottom - innerHeight + FOOTER_PX);
  }, [reveal]);

  const visible = [];
  for (let index = range.from; index < Math.min(range.to, items.length); index += 1) {
    const item = items[index]!;
    visible.push(children(item, index, { transform: `translateY(${offsets[index]}px)` }));
  }
  return (
    <div class="window" ref={box} role={role} aria-label={label} style={{ height: `${total}px` }}>
      {visible}
    </div>
  );
}

/** The heights of the page's header and of the tray at its foot, which cover items. */
const HEADER_PX = 150;
const FOOTER_PX = 90;

function computeOffsets<T>(items: readonly T[], height: VirtualListProps<T>['height']): Float64Array {
  const offsets = new Float64Array(items.length + 1);
  items.forEach((item, index) => {
    offsets[index + 1] = offsets[index]! + (typeof height === 'number' ? height : height(item));
  });
  return offsets;
}

/** The index of the item at the offset `y`. */
function indexAt(offsets: Float64Array, y: number): number {
  let low = 0;
  let high = offsets.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (offsets[middle]! <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}
