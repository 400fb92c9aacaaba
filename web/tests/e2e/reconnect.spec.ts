// After every kind of connection failure, the page shows exactly the controller's state again, without a reload.

import type { Page } from '@playwright/test';
import { expect, test } from './fixtures';
import type { Swarm } from './swarm';

test('the page reports a lost connection, and catches up exactly when it is back', async ({ swarm, openPage }) => {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02', 'decky-03', 'decky-04']);
  const page = await openPage('operator', '#/deckies');
  await expect(page.getByRole('row')).toHaveCount(5);
  await page.evaluate(() => Object.assign(window, { neverReloaded: true }));

  swarm.proxy.cut();
  await expect(page.getByRole('alert')).toContainText('Lost the connection to the NATS server.');
  await expect(page.getByText('disconnected')).toBeVisible();
  await expect(page.getByRole('button', { name: /^Tear down decky-01/ })).toBeDisabled();

  // One decky is removed, one fails, one is deployed, and a host is added, all while the page is disconnected.
  await swarm.request('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01' });
  const first = await agent.nextCommand();
  await agent.sendResult(first, { 'decky-01': null });
  await swarm.request('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-02' });
  const second = await agent.nextCommand();
  await agent.sendResult(second, { 'decky-02': 'container busy' });
  await agent.sendHeartbeat(['decky-02', 'decky-03', 'decky-04', 'decky-05']);
  await swarm.startAgent('lighthouse', ['decky-01']);
  await expect(page.getByRole('row')).toHaveCount(5);

  swarm.proxy.restore();
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  await expect(page.getByRole('alert')).toHaveCount(0);
  expect(await shownRows(page)).toEqual(await recordedRows(swarm));
  await page.getByRole('link', { name: 'Operations' }).first().click();
  await expect(page.getByRole('row').filter({ hasText: 'decky-02 on harbour' })).toContainText('failed');
  expect(await page.evaluate(() => 'neverReloaded' in window)).toBe(true);
});

test('the page notices a message that is lost on a working connection, and lists again', async ({
  swarm,
  page,
  openPage,
}) => {
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
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02', 'decky-03']);
  await openPage('viewer', '#/deckies');
  await expect(page.getByRole('row')).toHaveCount(4);

  losing = true;
  await swarm.request('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01' });
  const command = await agent.nextCommand();
  await agent.sendResult(command, { 'decky-01': null });
  await expect.poll(() => lost.length).toBe(1);
  losing = false;

  // Nothing else happens: the page notices the gap from the repeat of the last revision.
  await expect.poll(() => shownRows(page)).toEqual(['harbour/decky-02 running', 'harbour/decky-03 running']);
  expect(await recordedRows(swarm)).toEqual(await shownRows(page));
  expect(lost.length).toBe(1);
});

test('the page follows the controller again after its restart', async ({ swarm, openPage }) => {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  const page = await openPage('operator', '#/deckies');
  await swarm.stopController();
  await expect(page.getByText('no controller', { exact: true })).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('alert')).toContainText('No controller responds.');
  await swarm.startController();
  await agent.sendHeartbeat(['decky-02', 'decky-03']);
  await expect(page.getByText('live', { exact: true })).toBeVisible({ timeout: 30_000 });
  await expect.poll(() => shownRows(page)).toEqual(await recordedRows(swarm));
});

/** Returns the rows of the table: host, decky, state. */
async function shownRows(page: Page): Promise<string[]> {
  const rows = await page.locator('.deckies .window > .row').evaluateAll((all) =>
    all.map((row) => {
      const text = (cell: string) => row.querySelector(cell)?.textContent ?? '';
      return `${text('.cell-host')}/${text('.cell-name')} ${text('.state')}`;
    }),
  );
  return rows.sort();
}

async function recordedRows(swarm: Swarm): Promise<string[]> {
  const { shards } = await swarm.request<{ shards: { host_name: string; decky_id: string; state: string }[] }>(
    'swarm.shards.list',
    {},
  );
  return shards.map((shard) => `${shard.host_name}/${shard.decky_id} ${shard.state.replace('_', ' ')}`).sort();
}
