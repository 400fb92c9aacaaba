// Whatever happens to the connection, the page shows in the end exactly what the controller has, without a reload.

import type { Page } from '@playwright/test';
import { expect, test } from './fixtures';
import type { Swarm } from './swarm';

test('a cut connection is told, and what changed meanwhile is caught up exactly', async ({ swarm, enter }) => {
  const agent = await swarm.agent('harbour', ['decky-01', 'decky-02', 'decky-03', 'decky-04']);
  const page = await enter('operator', '#/deckies');
  await expect(page.getByRole('row')).toHaveCount(5);
  await page.evaluate(() => Object.assign(window, { neverReloaded: true }));

  swarm.proxy.cut();
  await expect(page.getByRole('alert')).toContainText('The connection to the NATS server is lost.');
  await expect(page.getByText('not connected')).toBeVisible();
  await expect(page.getByRole('button', { name: /^Tear down decky-01/ })).toBeDisabled();

  // One goes, one cannot go, one is deployed, and a host comes: none of it is heard.
  await swarm.ask('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01' });
  const first = await agent.command();
  await agent.ends(first, { 'decky-01': null });
  await swarm.ask('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-02' });
  const second = await agent.command();
  await agent.ends(second, { 'decky-02': 'container busy' });
  await agent.report(['decky-02', 'decky-03', 'decky-04', 'decky-05']);
  await swarm.agent('lighthouse', ['decky-01']);
  await expect(page.getByRole('row')).toHaveCount(5);

  swarm.proxy.mend();
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  await expect(page.getByRole('alert')).toHaveCount(0);
  expect(await shown(page)).toEqual(await recorded(swarm));
  await page.getByRole('link', { name: 'Operations' }).first().click();
  await expect(page.getByRole('row').filter({ hasText: 'decky-02 on harbour' })).toContainText('failed');
  expect(await page.evaluate(() => 'neverReloaded' in window)).toBe(true);
});

test('a message that is lost on a living connection is noticed, and listed for', async ({ swarm, page, enter }) => {
  const lost: string[] = [];
  let losing = false;
  await page.routeWebSocket(/^ws:/, (near) => {
    const far = near.connectToServer();
    far.onMessage((message) => {
      const text = message.toString();
      if (losing && /^MSG shards\.updated .*"removed":\[\{/s.test(text)) lost.push(text);
      else near.send(message);
    });
  });
  const agent = await swarm.agent('harbour', ['decky-01', 'decky-02', 'decky-03']);
  await enter('viewer', '#/deckies');
  await expect(page.getByRole('row')).toHaveCount(4);

  losing = true;
  await swarm.ask('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01' });
  const command = await agent.command();
  await agent.ends(command, { 'decky-01': null });
  await expect.poll(() => lost.length).toBe(1);
  losing = false;

  // Nothing else happens: the repeat of the last revision tells.
  await expect.poll(() => shown(page)).toEqual(['harbour/decky-02 running', 'harbour/decky-03 running']);
  expect(await recorded(swarm)).toEqual(await shown(page));
  expect(lost.length).toBe(1);
});

test('a controller that was away, and comes back, is heard again by itself', async ({ swarm, enter }) => {
  const agent = await swarm.agent('harbour', ['decky-01', 'decky-02']);
  const page = await enter('operator', '#/deckies');
  await swarm.stopController();
  await expect(page.getByText('no controller', { exact: true })).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('alert')).toContainText('No controller answers.');
  await swarm.startController();
  await agent.report(['decky-02', 'decky-03']);
  await expect(page.getByText('live', { exact: true })).toBeVisible({ timeout: 30_000 });
  await expect.poll(() => shown(page)).toEqual(await recorded(swarm));
});

/** The table's rows: decky, host, state. */
async function shown(page: Page): Promise<string[]> {
  const rows = await page.locator('.deckies .window > .row').evaluateAll((all) =>
    all.map((row) => {
      const text = (cell: string) => row.querySelector(cell)?.textContent ?? '';
      return `${text('.cell-host')}/${text('.cell-name')} ${text('.state')}`;
    }),
  );
  return rows.sort();
}

async function recorded(swarm: Swarm): Promise<string[]> {
  const { shards } = await swarm.ask<{ shards: { host_name: string; decky_id: string; state: string }[] }>(
    'swarm.shards.list',
    {},
  );
  return shards.map((one) => `${one.host_name}/${one.decky_id} ${one.state.replace('_', ' ')}`).sort();
}
