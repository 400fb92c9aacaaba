// The pictures in docs/images/: taken of a swarm at work, with `npm run screenshots`.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test } from './fixtures';

const images = join(import.meta.dirname, '../../../docs/images');
const phone = { width: 390, height: 780 };
const desk = { width: 1280, height: 800 };

test('pictures', async ({ swarm, enter, page }) => {
  await mkdir(images, { recursive: true });
  await swarm.simulate(24, 30, '--teardown-ms', '5000..9000', '--seed', '7');
  const agent = await swarm.agent('harbour-01', ['decky-01', 'decky-02', 'decky-03', 'decky-04', 'decky-05']);
  await swarm.agent('lighthouse', ['decky-01', 'decky-02']);

  await enter('operator');
  const failed = await swarm.ask<{ operation_id: string }>('swarm.teardown', {
    host_uuid: 'harbour-01',
    reason: 'rotating lures',
  });
  const command = await agent.command();
  await page.goto(`${swarm.page}#/op/${failed.operation_id}`);
  for (const [step, done] of [['started'], ['stopping', 0], ['removing', 2], ['verifying', 5]] as const) {
    agent.says(command, step, done, 5);
    if (done !== undefined) await expect(page.getByText(`its agent: ${step}, ${done} of 5 deckies done`)).toBeVisible();
  }
  await agent.ends(command, {
    'decky-01': null,
    'decky-02': null,
    'decky-03': 'could not kill container decky-03-http: tried to kill container, but did not receive an exit event',
    'decky-04': null,
    'decky-05': 'network decnet_lan has active endpoints',
  });
  await expect(page.getByRole('button', { name: /^Retry 2/ })).toBeVisible();
  for (const host of ['sim-0003', 'sim-0011']) await swarm.ask('swarm.teardown', { host_uuid: host });
  for (const decky of ['decky-02', 'decky-05', 'decky-08']) {
    await swarm.ask('swarm.teardown', { host_uuid: 'sim-0007', decky_id: decky });
  }
  await swarm.ask('swarm.teardown', { host_uuid: 'lighthouse', decky_id: 'decky-01', reason: 'burned' });

  await pictures(page, `${swarm.page}#/deckies?view=map&decky=harbour-01/decky-05`, 'map');
  await pictures(page, `${swarm.page}#/overview`, 'overview');
  await pictures(page, `${swarm.page}#/op/${failed.operation_id}`, 'operation');
  await pictures(page, `${swarm.page}#/deckies`, 'deckies');
  await pictures(page, `${swarm.page}#/hosts`, 'hosts');
  await pictures(page, `${swarm.page}#/operations`, 'operations');
});

/** One page on a desk, light and dark, and on a phone. */
async function pictures(page: Page, url: string, name: string): Promise<void> {
  // The others are only looked at.
  const kept = process.env['SCUTTLE_SCREENSHOTS_ALL'] !== undefined;
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.setViewportSize(desk);
    await page.goto(url);
    await expect(page.getByRole('main')).toBeVisible();
    await shoot(page, `${name}-${colorScheme}`, kept || ['overview', 'map', 'operation'].includes(name));
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(phone);
  await shoot(page, `${name}-phone`, kept || name === 'deckies');
  await page.setViewportSize(desk);
}

async function shoot(page: Page, name: string, kept: boolean): Promise<void> {
  if (!kept) return;
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(images, `${name}.png`) });
}
