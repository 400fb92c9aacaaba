// The map: each decky is a tile, in a plot for each host. Only the plots that are seen are in the document. Arrow keys go from
// tile to tile; one of them at a time takes the focus.

import { useComputed, useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useRef } from 'preact/hooks';
import { link, refine, route } from '../route';
import { session } from '../session';
import { shardKey } from '../swarm';
import type { ShardRecord } from '../wire';
import { count, FAILURES, figure, SHARD_STATES } from '../words';
import { Window } from './window';

const TILE = 22;
const GAP = 18;
/** What a plot has beside its tiles: as map.css says. */
const PLOT_WIDTH = 22;
const PLOT_HEIGHT = 44;

interface Plot {
  readonly host: string;
  readonly name: string;
  readonly shards: readonly ShardRecord[];
}

/** Plots side by side. */
interface Band {
  readonly plots: readonly Plot[];
  readonly lines: number;
}

export function TileMap({ shards }: { shards: readonly ShardRecord[] }) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const focused = useSignal('');
  const moved = useRef(false);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(([entry]) => (width.value = Math.floor(entry!.contentRect.width)));
    seen.observe(box.current!);
    return () => seen.disconnect();
  }, []);

  const plots = useMemo(() => plotsOf(shards), [shards]);
  const shape = useMemo(() => shapeOf(plots, width.value), [plots, width.value]);
  const chosen = route.value.filter.get('decky') ?? '';
  const keys = useMemo(() => new Set(shards.map(shardKey)), [shards]);
  const current = [focused.value, chosen].find((key) => keys.has(key)) ?? shardKey(plots[0]!.shards[0]!);
  const reveal = moved.current ? shape.bands.findIndex((band) => holds(band, current)) : undefined;

  useEffect(() => {
    if (!moved.current) return;
    moved.current = false;
    focusWhenThere(box.current, current);
  }, [current]);

  const onKeyDown = (event: KeyboardEvent) => {
    const next = step(shape, current, event.key);
    if (next === undefined) return;
    event.preventDefault();
    moved.current = true;
    focused.value = next;
  };
  const onClick = (event: MouseEvent) => {
    const key = (event.target as HTMLElement).closest<HTMLElement>('.tile')?.dataset['key'];
    if (key === undefined) return;
    focused.value = key;
    refine({ decky: key === chosen ? '' : key });
  };

  return (
    <div class="map" ref={box} onKeyDown={onKeyDown} onClick={onClick}>
      <p class="unseen" id="map-help">
        Arrow keys go from decky to decky, Enter shows what is known of one.
      </p>
      {width.value > 0 && (
        <Window
          items={shape.bands}
          height={(band) => PLOT_HEIGHT + band.lines * TILE + GAP}
          reveal={reveal}
          role="group"
          label="Map of deckies"
        >
          {(band, index, place) => (
            <div key={index} class="band" style={{ ...place, gridTemplateColumns: `repeat(${shape.columns}, 1fr)` }}>
              {band.plots.map((plot) => (
                <PlotView
                  key={plot.host}
                  plot={plot}
                  perLine={shape.perLine}
                  current={current.startsWith(`${plot.host}/`) ? current : ''}
                  chosen={chosen.startsWith(`${plot.host}/`) ? chosen : ''}
                />
              ))}
            </div>
          )}
        </Window>
      )}
    </div>
  );
}

interface PlotProps {
  plot: Plot;
  perLine: number;
  /** The tile that takes the focus, and the one that is looked at, if they are of this plot. */
  current: string;
  chosen: string;
}

function PlotView({ plot, perLine, current, chosen }: PlotProps) {
  const offline = useComputed(() => session.value?.swarm.host(plot.host)?.status === 'offline').value;
  // Made anew only when it has changed: while one scrolls, hundreds of tiles stay as they are.
  return useMemo(() => drawn({ plot, perLine, current, chosen }, offline), [plot, perLine, current, chosen, offline]);
}

function drawn({ plot, perLine, current, chosen }: PlotProps, offline: boolean) {
  const { name, shards } = plot;
  const failing = shards.filter((shard) => FAILURES.includes(shard.state)).length;
  const lines: ShardRecord[][] = [];
  for (let from = 0; from < shards.length; from += perLine) lines.push(shards.slice(from, from + perLine));
  return (
    <section
      class={offline ? 'plot offline' : 'plot'}
      aria-label={`${name}, ${count(shards.length, 'decky', 'deckies')}`}
    >
      <div class="plot-head">
        <a href={link('deckies', { host: plot.host, view: 'map' })}>{name}</a>
        {offline && <span class="plot-note look-bad">offline</span>}
        {failing > 0 && <span class="plot-note look-alarm">{figure(failing)} failed</span>}
        <span class="plot-count muted">{figure(shards.length)}</span>
      </div>
      {lines.map((line, index) => (
        <div key={index} class="tiles">
          {line.map((shard) => (
            <Tile key={shardKey(shard)} shard={shard} current={current} chosen={chosen} />
          ))}
        </div>
      ))}
    </section>
  );
}

function Tile({ shard, current, chosen }: { shard: ShardRecord; current: string; chosen: string }) {
  const key = shardKey(shard);
  const { word, look } = SHARD_STATES[shard.state];
  return (
    <button
      type="button"
      class={`tile look-${look}`}
      data-key={key}
      tabIndex={key === current ? 0 : -1}
      aria-label={`${shard.decky_id}, ${word}`}
      aria-expanded={key === chosen}
      title={`${shard.decky_id} · ${word}`}
    />
  );
}

function plotsOf(shards: readonly ShardRecord[]): Plot[] {
  const plots: { host: string; name: string; shards: ShardRecord[] }[] = [];
  for (const shard of shards) {
    const last = plots.at(-1);
    if (last?.host === shard.host_uuid) last.shards.push(shard);
    else plots.push({ host: shard.host_uuid, name: shard.host_name, shards: [shard] });
  }
  return plots;
}

interface Shape {
  readonly columns: number;
  readonly perLine: number;
  readonly bands: readonly Band[];
}

/** How plots are laid out: as wide as the most deckies of a host want, up to 24 tiles. */
function shapeOf(plots: readonly Plot[], width: number): Shape {
  const most = Math.max(...plots.map((plot) => plot.shards.length));
  const wanted = Math.min(24, Math.max(9, Math.ceil(Math.sqrt(most * 3)))) * TILE + PLOT_WIDTH;
  const columns = Math.max(1, Math.floor((width + GAP) / (wanted + GAP)));
  const perLine = Math.max(1, Math.floor(((width + GAP) / columns - GAP - PLOT_WIDTH) / TILE));
  const bands: Band[] = [];
  for (let from = 0; from < plots.length; from += columns) {
    const some = plots.slice(from, from + columns);
    bands.push({ plots: some, lines: Math.max(...some.map((plot) => Math.ceil(plot.shards.length / perLine))) });
  }
  return { columns, perLine, bands };
}

const holds = (band: Band, key: string) =>
  band.plots.some((plot) => plot.shards.some((shard) => shardKey(shard) === key));

/** Where a key leads: along a host's tiles and on to the next host; up and down by lines, then to the plot above or below. */
function step({ bands, columns, perLine }: Shape, from: string, key: string): string | undefined {
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

/** The most frames that a tile takes to come into the document. */
const FRAMES = 20;

function focusWhenThere(box: HTMLElement | null, key: string, frames = FRAMES): void {
  const tile = box?.querySelector<HTMLElement>(`.tile[data-key="${CSS.escape(key)}"]`);
  if (tile) tile.focus({ preventScroll: true });
  else if (frames > 0) requestAnimationFrame(() => focusWhenThere(box, key, frames - 1));
}
