// Measures the page with 20,000 deckies: the time to the first rows, and the work per frame while scrolling. Also
// checks that only visible items are in the document. The time limits are generous, because the machine is shared.
// The work per frame is compared with that of a plain list, built without a framework, in the same run.

import type { Page } from '@playwright/test';
import { expect, signIn, test } from './fixtures';
import { password } from './swarm';

const HOSTS = 200;
const DECKIES = 100;

/** The numbers of rows, of rows replaced per scroll event, and of cells per row in the baseline list. */
const ROWS = 34;
const CHANGED_ROWS = 9;
const CELLS = 7;

test('the page loads 20,000 deckies quickly, and scrolls them smoothly', async ({ swarm, page }) => {
  test.setTimeout(240_000);
  await swarm.startSimulatedAgents(HOSTS, DECKIES, '--heartbeat-ms', '10000', '--teardown-ms', '200..800');
  await page.goto(`${swarm.page}#/deckies`);
  await expect(page.getByText(swarm.proxy.url)).toBeVisible();
  await page.evaluate(addPlainList, { rows: ROWS, changed: CHANGED_ROWS, cells: CELLS });
  const plain = await scroll(page);
  report('a list without a framework', plain);
  await page.evaluate(() => document.getElementById('plain')!.remove());
  const began = Date.now();
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByRole('row').nth(1)).toBeVisible();
  const first = Date.now() - began;
  await expect(page.getByRole('link', { name: 'Deckies 20,000' })).toBeVisible();
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  const whole = Date.now() - began;
  console.log(`  20,000 deckies: first rows after ${first} ms, all after ${whole} ms`);
  expect(first).toBeLessThan(10_000);
  expect(whole).toBeLessThan(30_000);

  const table = await scroll(page);
  report('table', table);
  expect(await page.getByRole('row').count()).toBeLessThan(200);

  // Scrolls again while 2,000 deckies are torn down.
  for (let host = 1; host <= 20; host += 1) {
    await swarm.request('swarm.teardown', { host_uuid: `sim-${String(host).padStart(4, '0')}` });
  }
  const busy = await scroll(page);
  report('table, while 2,000 are torn down', busy);
  await expect(page.getByRole('link', { name: 'Deckies 18,000' })).toBeVisible();

  await page.getByRole('button', { name: 'Map', exact: true }).click();
  await expect(page.locator('.tile').first()).toBeVisible();
  const map = await scroll(page);
  report('map', map);
  expect(await page.locator('.tile').count()).toBeLessThan(6_000);

  const typed = Date.now();
  await page.getByRole('searchbox').fill('sim-0150 decky-07');
  await expect(page.locator('.tile')).toHaveCount(1);
  console.log(`  filter: found one of 18,000 after ${Date.now() - typed} ms`);
  for (const frames of [table, busy, map]) expect(frames.workMs).toBeLessThan(8 * plain.workMs);
});

interface Frames {
  /** The duration of each frame in milliseconds. */
  readonly durations: readonly number[];
  /** How long the page's main thread worked per frame, in milliseconds. */
  readonly workMs: number;
}

/** Adds a list that replaces `changed` of its `rows` rows per scroll event, as the table does. */
function addPlainList({ rows, changed, cells }: { rows: number; changed: number; cells: number }): void {
  const list = document.createElement('div');
  list.id = 'plain';
  list.style.height = '2000000px';
  const createRow = () => {
    const row = document.createElement('div');
    row.style.position = 'absolute';
    row.style.transform = `translateY(${scrollY + 400}px)`;
    for (let cell = 0; cell < cells; cell += 1) {
      const text = document.createElement('span');
      text.textContent = `${scrollY} ${cell}`;
      row.append(text);
    }
    return row;
  };
  for (let row = 0; row < rows; row += 1) list.append(createRow());
  document.body.append(list);
  const replaceRows = () => {
    if (!list.isConnected) {
      removeEventListener('scroll', replaceRows);
      return;
    }
    for (let row = 0; row < changed; row += 1) {
      list.firstChild?.remove();
      list.append(createRow());
    }
  };
  addEventListener('scroll', replaceRows, { passive: true });
}

const FRAMES = 120;

async function scroll(page: Page): Promise<Frames> {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.enable');
  const busySeconds = async () => {
    const { metrics } = await devtools.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration')!.value;
  };
  const before = await busySeconds();
  const durations = await page.evaluate(scrollFrames, FRAMES);
  const workMs = ((await busySeconds()) - before) * (1000 / FRAMES);
  await devtools.detach();
  return { durations, workMs };
}

/** Scrolls down for `count` frames and returns the duration of each in milliseconds. */
const scrollFrames = (count: number) =>
  new Promise<number[]>((done) => {
    const frames: number[] = [];
    let last = performance.now();
    const frame = (now: number) => {
      frames.push(now - last);
      last = now;
      scrollBy(0, 400);
      if (frames.length > count) done(frames.slice(1));
      else requestAnimationFrame(frame);
    };
    scrollTo(0, 0);
    requestAnimationFrame(frame);
  });

function report(what: string, { durations, workMs }: Frames): void {
  const sorted = [...durations].sort((a, b) => a - b);
  const quantile = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(0);
  console.log(
    `  ${what}: ${workMs.toFixed(1)} ms of work per frame; frame time ${quantile(0.5)} ms median, ${quantile(0.95)} ms 95th percentile`,
  );
}
