// The map of deckies: a plot per host, a tile per decky. Only visible plots are in the document. The arrow keys move
// between tiles, and one tile at a time can take the focus.

import { useComputed, useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { hrefTo, updateFilter, route } from '../../state/route';
import { session } from '../../state/session';
import { shardKey } from '../../state/swarm';
import type { ShardRecord } from '../../wire';
import { formatCount, formatNumber } from '../../text/format';
import { FAILED_STATES, SHARD_STATES } from '../../text/labels';
import { VirtualList } from '../components/virtual-list';

const TILE = 22;
const GAP = 18;
/** The size of a plot without its tiles, as in map.css. */
const PLOT_WIDTH = 22;
const PLOT_HEIGHT = 44;

interface Plot {
  readonly host: string;
  readonly name: string;
  readonly shards: readonly ShardRecord[];
}

/** A row of plots. */
interface Band {
  readonly plots: readonly Plot[];
  readonly lines: number;
}

export function TileMap({ shards }: { shards: readonly ShardRecord[] }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const focused = useSignal('');
  const movedByKey = useRef(false);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => (width.value = Math.floor(entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  const plots = useMemo(() => groupByHost(shards), [shards]);
  const layout = useMemo(() => layOut(plots, width.value), [plots, width.value]);
  const selected = route.value.filter.get('decky') ?? '';
  const keys = useMemo(() => new Set(shards.map(shardKey)), [shards]);
  const current = [focused.value, selected].find((key) => keys.has(key)) ?? shardKey(plots[0]!.shards[0]!);
  const reveal = movedByKey.current ? layout.bands.findIndex((band) => bandContains(band, current)) : undefined;

  useEffect(() => {
    if (!movedByKey.current) return;
    movedByKey.current = false;
    focusTileWhenRendered(box.current, current);
  }, [current]);

  const onKeyDown = (event: KeyboardEvent) => {
    const next = nextTile(layout, current, event.key);
    if (next === undefined) return;
    event.preventDefault();
    movedByKey.current = true;
    focused.value = next;
  };
  const onClick = (event: MouseEvent) => {
    const key = (event.target as HTMLElement).closest<HTMLElement>('.tile')?.dataset['key'];
    if (key === undefined) return;
    focused.value = key;
    updateFilter({ decky: key === selected ? '' : key });
  };

  return (
    <div class="map" ref={box} onKeyDown={onKeyDown} onClick={onClick}>
      <p class="visually-hidden" id="map-help">
        Use the arrow keys to move between deckies, and Enter to show details.
      </p>
      {width.value > 0 && (
        <VirtualList
          items={layout.bands}
          height={(band) => PLOT_HEIGHT + band.lines * TILE + GAP}
          reveal={reveal}
          role="group"
          label="Map of deckies"
        >
          {(band, index, place) => (
            <div key={index} class="band" style={{ ...place, gridTemplateColumns: `repeat(${layout.columns}, 1fr)` }}>
              {band.plots.map((plot) => (
                <PlotView
                  key={plot.host}
                  plot={plot}
                  perLine={layout.perLine}
                  current={current.startsWith(`${plot.host}/`) ? current : ''}
                  selected={selected.startsWith(`${plot.host}/`) ? selected : ''}
                />
              ))}
            </div>
          )}
        </VirtualList>
      )}
    </div>
  );
}

interface PlotProps {
  plot: Plot;
  perLine: number;
  /** The key of the tile that takes the focus, if it is in this plot. */
  current: string;
  /** The key of the tile whose details are shown, if it is in this plot. */
  selected: string;
}

function PlotView({ plot, perLine, current, selected }: PlotProps) {
  const offline = useComputed(() => session.value?.swarm.host(plot.host)?.status === 'offline').value;
  // Rendered again only when something changed: hundreds of tiles stay as they are during scrolling.
  return useMemo(
    () => renderPlot({ plot, perLine, current, selected }, offline),
    [plot, perLine, current, selected, offline],
  );
}

function renderPlot({ plot, perLine, current, selected }: PlotProps, offline: boolean) {
  const { name, shards } = plot;
  const failing = shards.filter((shard) => FAILED_STATES.includes(shard.state)).length;
  const lines: ShardRecord[][] = [];
  for (let from = 0; from < shards.length; from += perLine) lines.push(shards.slice(from, from + perLine));
  return (
    <section
      class={offline ? 'plot offline' : 'plot'}
      aria-label={`${name}, ${formatCount(shards.length, 'decky', 'deckies')}`}
    >
      <div class="plot-head">
        <a href={hrefTo('deckies', { host: plot.host, view: 'map' })}>{name}</a>
        {offline && <span class="plot-note tone-bad">offline</span>}
        {failing > 0 && <span class="plot-note tone-alarm">{formatNumber(failing)} failed</span>}
        <span class="plot-count muted">{formatNumber(shards.length)}</span>
      </div>
      {lines.map((line, index) => (
        <div key={index} class="tiles">
          {line.map((shard) => (
            <Tile key={shardKey(shard)} shard={shard} current={current} selected={selected} />
          ))}
        </div>
      ))}
    </section>
  );
}

function Tile({ shard, current, selected }: { shard: ShardRecord; current: string; selected: string }) {
  const key = shardKey(shard);
  const { label, tone } = SHARD_STATES[shard.state];
  return (
    <button
      type="button"
      class={`tile tone-${tone}`}
      data-key={key}
      tabIndex={key === current ? 0 : -1}
      aria-label={`${shard.decky_id}, ${label}`}
      aria-expanded={key === selected}
      title={`${shard.decky_id} · ${label}`}
    />
  );
}

function groupByHost(shards: readonly ShardRecord[]): Plot[] {
  const plots: { host: string; name: string; shards: ShardRecord[] }[] = [];
  for (const shard of shards) {
    const last = plots.at(-1);
    if (last?.host === shard.host_uuid) last.shards.push(shard);
    else plots.push({ host: shard.host_uuid, name: shard.host_name, shards: [shard] });
  }
  return plots;
}

interface Layout {
  readonly columns: number;
  readonly perLine: number;
  readonly bands: readonly Band[];
}

/** Lays the plots out in columns that suit the host with the most deckies, 9 to 24 tiles wide. */
function layOut(plots: readonly Plot[], width: number): Layout {
  const most = Math.max(...plots.map((plot) => plot.shards.length));
  const plotWidth = Math.min(24, Math.max(9, Math.ceil(Math.sqrt(most * 3)))) * TILE + PLOT_WIDTH;
  const columns = Math.max(1, Math.floor((width + GAP) / (plotWidth + GAP)));
  const perLine = Math.max(1, Math.floor(((width + GAP) / columns - GAP - PLOT_WIDTH) / TILE));
  const bands: Band[] = [];
  for (let from = 0; from < plots.length; from += columns) {
    const row = plots.slice(from, from + columns);
    bands.push({ plots: row, lines: Math.max(...row.map((plot) => Math.ceil(plot.shards.length / perLine))) });
  }
  return { columns, perLine, bands };
}

const bandContains = (band: Band, key: string) =>
  band.plots.some((plot) => plot.shards.some((shard) => shardKey(shard) === key));

/**
 * Returns the tile that a key moves to. Left and right follow a host's tiles and continue on the next host. Up and down
 * move by lines, then to the plot above or below.
 */
function nextTile({ bands, columns, perLine }: Layout, from: string, key: string): string | undefined {
  const plots = bands.flatMap((band) => band.plots);
  const at = plots.findIndex((plot) => plot.shards.some((shard) => shardKey(shard) === from));
  const plot = plots[at];
  if (plot === undefined) return undefined;
  const tile = plot.shards.findIndex((shard) => shardKey(shard) === from);
  const pick = (shards: readonly ShardRecord[] | undefined, index: number) => {
    const shard = shards?.at(index);
    return shard === undefined ? undefined : shardKey(shard);
  };
  const column = tile % perLine;
  switch (key) {
    case 'ArrowRight':
      return pick(plot.shards, tile + 1) ?? pick(plots[at + 1]?.shards, 0);
    case 'ArrowLeft':
      return tile > 0 ? pick(plot.shards, tile - 1) : at > 0 ? pick(plots[at - 1]?.shards, -1) : undefined;
    case 'ArrowDown': {
      if (tile + perLine < plot.shards.length) return pick(plot.shards, tile + perLine);
      const below = plots[at + columns]?.shards;
      return below && pick(below, Math.min(column, below.length - 1));
    }
    case 'ArrowUp': {
      if (tile >= perLine) return pick(plot.shards, tile - perLine);
      const above = at >= columns ? plots[at - columns]?.shards : undefined;
      if (above === undefined) return undefined;
      const last = Math.floor((above.length - 1) / perLine) * perLine;
      return pick(above, Math.min(last + column, above.length - 1));
    }
    case 'Home':
      return pick(plots[0]?.shards, 0);
    case 'End':
      return pick(plots.at(-1)?.shards, -1);
    default:
      return undefined;
  }
}

/** How many frames to wait until the tile is in the document. */
const MAX_FOCUS_FRAMES = 20;

function focusTileWhenRendered(box: HTMLElement | null, key: string, frames = MAX_FOCUS_FRAMES): void {
  const tile = box?.querySelector<HTMLElement>(`.tile[data-key="${CSS.escape(key)}"]`);
  if (tile) tile.focus({ preventScroll: true });
  else if (frames > 0) requestAnimationFrame(() => focusTileWhenRendered(box, key, frames - 1));
}
