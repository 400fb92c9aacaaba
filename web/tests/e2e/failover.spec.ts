// A page that has the addresses of several NATS servers moves to another server when its server stops.

import { expect, test } from './fixtures';

test.use({ withSpare: true });

for (const [first, random] of [
  ['the stopped server', 0],
  ['the running server', 0.99],
] as const) {
  test(`the page signs in and fails over although one of its two servers was stopped, trying ${first} first`, async ({
    swarm,
    page,
    openPage,
  }) => {
    const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
    // The page starts with the server that this number selects.
    await page.addInitScript((value) => (Math.random = () => value), random);
    swarm.proxy.cut();
    await openPage('operator', '#/deckies');
    await page.evaluate(() => Object.assign(window, { neverReloaded: true }));
    expect(swarm.spare!.sockets).toBeGreaterThan(0);

    swarm.proxy.restore();
    swarm.spare!.cut();
    await expect.poll(() => swarm.proxy.sockets).toBeGreaterThan(0);
    await expect(page.getByText('live', { exact: true })).toBeVisible();
    const row = page.getByRole('row').filter({ hasText: 'decky-01' });
    await row.getByRole('button', { name: 'Tear down decky-01 on harbour' }).click();
    await row.getByRole('button', { name: 'Confirm: Tear down decky-01 on harbour' }).click();
    await agent.sendResult(await agent.nextCommand(), { 'decky-01': null });
    await expect(row).toHaveCount(0);
    expect(await page.evaluate(() => 'neverReloaded' in window)).toBe(true);
  });
}
