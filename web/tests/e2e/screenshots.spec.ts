// Takes the pictures in docs/images/ of a busy swarm: `npm run screenshots`.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test } from './fixtures';

const images = join(import.meta.dirname, '../../../docs/images');
const phone = { width: 390, height: 780 };
const desktop = { width: 1280, height: 800 };

test('the pictures of the documentation are taken', async ({ swarm, openPage, page }) => {
  await mkdir(images, { recursive: true });
  await swarm.startSimulatedAgents(24, 30, '--teardown-ms', '5000..9000', '--seed', '7');
  const agent = await swarm.startAgent('harbour-01', ['decky-01', 'decky-02', 'decky-03', 'decky-04', 'decky-05']);
  await swarm.startAgent('lighthouse', ['decky-01', 'decky-02']);

  await openPage('operator');
  const failed = await swarm.request<{ operation_id: string }>('swarm.teardown', {
    host_uuid: 'harbour-01',
    reason: 'rotating lures',
  });
  const command = await agent.nextCommand();
  await page.goto(`${swarm.page}#/op/${failed.operation_id}`);
  for (const [step, done] of [['started'], ['stopping', 0], ['removing', 2], ['verifying', 5]] as const) {
    agent.sendProgress(command, step, done, 5);
    if (done !== undefined) await expect(page.getByText(`agent: ${step}, ${done} of 5 deckies done`)).toBeVisible();
  }
  await agent.sendResult(command, {
    'decky-01': null,
    'decky-02': null,
    'decky-03': 'could not kill container decky-03-http: tried to kill container, but did not receive an exit event',
    'decky-04': null,
    'decky-05': 'network decnet_lan has active endpoints',
  });
  await expect(page.getByRole('button', { name: /^Retry 2/ })).toBeVisible();
  for (const host of ['sim-0003', 'sim-0011']) await swarm.request('swarm.teardown', { host_uuid: host });
  for (const decky of ['decky-02', 'decky-05', 'decky-08']) {
    await swarm.request('swarm.teardown', { host_uuid: 'sim-0007', decky_id: decky });
  }
  await swarm.request('swarm.teardown', { host_uuid: 'lighthouse', decky_id: 'decky-01', reason: 'burned' });

  await takePictures(page, `${swarm.page}#/deckies?view=map&decky=harbour-01/decky-05`, 'map');
  await takePictures(page, `${swarm.page}#/overview`, 'overview');
  await takePictures(page, `${swarm.page}#/op/${failed.operation_id}`, 'operation');
  await takePictures(page, `${swarm.page}#/deckies`, 'deckies');
  await takePictures(page, `${swarm.page}#/hosts`, 'hosts');
  await takePictures(page, `${swarm.page}#/operations`, 'operations');
});

/** Takes a page on a desktop screen, light and dark, and on a phone. */
async function takePictures(page: Page, url: string, name: string): Promise<void> {
  // The documentation uses only some of the pictures. SCUTTLE_SCREENSHOTS_ALL keeps all of them.
  const keepAll = process.env['SCUTTLE_SCREENSHOTS_ALL'] !== undefined;
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.setViewportSize(desktop);
    await page.goto(url);
    await expect(page.getByRole('main')).toBeVisible();
    await takePicture(page, `${name}-${colorScheme}`, keepAll || ['overview', 'map', 'operation'].includes(name));
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(phone);
  await takePicture(page, `${name}-phone`, keepAll || name === 'deckies');
  await page.setViewportSize(desktop);
}

async function takePicture(page: Page, name: string, keep: boolean): Promise<void> {
  if (!keep) return;
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(images, `${name}.png`) });
}
