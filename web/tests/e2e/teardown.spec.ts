// Teardowns from the page: a single decky, ten at once, a failure and its retry, a whole host, and a cancellation.

import { expect, test } from './fixtures';

test('two clicks tear a decky down, and its row disappears without a reload', async ({ swarm, openPage }) => {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  const page = await openPage('operator', '#/deckies');
  await page.evaluate(() => Object.assign(window, { neverReloaded: true }));
  const row = page.getByRole('row').filter({ hasText: 'decky-01' });

  await row.getByRole('button', { name: 'Tear down decky-01 on harbour' }).click();
  await row.getByRole('button', { name: 'Confirm: Tear down decky-01 on harbour' }).click();
  await expect(row).toContainText('tearing down');
  await expect(row.getByRole('link', { name: 'queued' })).toBeVisible();

  const command = await agent.nextCommand();
  expect(command.decky_id).toBe('decky-01');
  agent.sendProgress(command, 'started');
  await expect(row.getByRole('link', { name: 'running' })).toBeVisible();
  await agent.sendResult(command, { 'decky-01': null });

  await expect(row).toHaveCount(0);
  await expect(page.getByRole('row').filter({ hasText: 'decky-02' })).toBeVisible();
  const myOperations = page.getByRole('region', { name: 'Your teardowns' });
  await myOperations.getByRole('button', { expanded: false }).click();
  await expect(myOperations).toContainText('decky-01 on harbour');
  await expect(myOperations).toContainText('succeeded');
  await expect(page.getByText('Teardown of decky-01 on harbour: succeeded.')).toBeAttached();
  expect(await page.evaluate(() => 'neverReloaded' in window)).toBe(true);
});

test('an armed button sends nothing, disarms after four seconds, and counts a double click as one', async ({
  swarm,
  openPage,
}) => {
  await swarm.startAgent('harbour', ['decky-01']);
  const page = await openPage('operator', '#/deckies');
  await page.getByRole('button', { name: 'Tear down decky-01 on harbour', exact: true }).click();
  await expect(page.getByRole('button', { name: /^Confirm/ })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Tear down decky-01 on harbour', exact: true })).toBeVisible();
  await expect(page.getByRole('button', { name: /^Confirm/ })).toHaveCount(0);
  await page.getByRole('button', { name: 'Tear down decky-01 on harbour', exact: true }).dblclick();
  await expect(page.getByRole('button', { name: /^Confirm/ })).toBeVisible();
  const { operations } = await swarm.request<{ operations: unknown[] }>('swarm.operations.list', {});
  expect(operations).toEqual([]);
});

test('ten teardowns are queued at once, each with separate progress', async ({ swarm, openPage }) => {
  const names = Array.from({ length: 12 }, (_, index) => `decky-${String(index + 1).padStart(2, '0')}`);
  const agent = await swarm.startAgent('harbour', names);
  const page = await openPage('operator', '#/deckies');
  const ten = names.slice(0, 10);
  for (const name of ten) {
    await page.getByRole('button', { name: `Tear down ${name} on harbour`, exact: true }).click();
    await page.getByRole('button', { name: `Confirm: Tear down ${name} on harbour` }).click();
  }
  await expect(page.getByRole('link', { name: /^queued/ })).toHaveCount(10);
  await expect(page.getByRole('region', { name: 'Your teardowns' })).toContainText('10 teardowns requested');

  for (let ended = 1; ended <= 10; ended += 1) {
    const command = await agent.nextCommand();
    agent.sendProgress(command, 'started');
    await expect(page.getByRole('link', { name: 'running', exact: true })).toHaveCount(1);
    await agent.sendResult(command, { [command.decky_id!]: null });
    await expect(page.getByRole('row')).toHaveCount(1 + names.length - ended);
  }
  await expect(page.getByRole('region', { name: 'Your teardowns' })).toContainText('10 ended');
});

test('a failure shows its complete error, and its retry tears down only that decky', async ({ swarm, openPage }) => {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02', 'decky-03']);
  const { operation_id } = await swarm.request<{ operation_id: string }>('swarm.teardown', {
    host_uuid: 'harbour',
    reason: 'burned',
  });
  const page = await openPage('operator', `#/op/${operation_id}`);
  const first = await agent.nextCommand();
  agent.sendProgress(first, 'started');
  agent.sendProgress(first, 'removing', 1, 3);
  await expect(page.getByText('agent: removing, 1 of 3 deckies done')).toBeVisible();
  const error = 'network decnet_lan has active endpoints: ' + 'an-endpoint-with-a-long-name '.repeat(8).trim();
  await agent.sendResult(first, { 'decky-01': null, 'decky-02': error, 'decky-03': null });

  const deckies = page.getByRole('region', { name: 'Deckies' });
  await expect(deckies.getByRole('listitem').first()).toContainText(error);
  await expect(deckies).toContainText('2 of 3 gone');
  await expect(page.getByText('“burned”')).toBeVisible();

  // A decky that was deployed again since then must stay.
  await agent.sendHeartbeat(['decky-01', 'decky-02']);
  await page.getByRole('button', { name: 'Retry 1 failed decky on harbour' }).click();
  await page.getByRole('button', { name: 'Confirm: Retry 1 failed decky on harbour' }).click();
  const second = await agent.nextCommand();
  expect(second.decky_id).toBe('decky-02');
  agent.sendProgress(second, 'started');
  await agent.sendResult(second, { 'decky-02': null });
  await expect(page.getByRole('region', { name: 'Your teardowns' })).toContainText('1 ended');
  await expect(page.getByText('Teardown of decky-02 on harbour: succeeded.')).toBeAttached();
  await page.goto(`${swarm.page}#/deckies`);
  await expect(page.getByRole('row')).toHaveCount(2);
  await expect(page.getByRole('row').last()).toContainText('decky-01');
});

test('protected deckies are marked, and their teardown is rejected with the reason', async ({ swarm, openPage }) => {
  const { host } = await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  await swarm.request('swarm.shards.protect', { host_uuid: host, decky_id: 'decky-01', protected: true });
  const page = await openPage('operator', '#/deckies');
  const lock = (row: string) => page.getByRole('row').filter({ hasText: row }).getByRole('img', { name: 'protected' });
  await expect(lock('decky-01')).toBeVisible();
  await expect(lock('decky-02')).toHaveCount(0);
  await page.getByRole('button', { name: 'Tear down decky-01 on harbour' }).click();
  await page.getByRole('button', { name: 'Confirm: Tear down decky-01 on harbour' }).click();
  await expect(page.getByText(/decky-01 of host harbour .* is protected by a request/).first()).toBeVisible();

  await page.goto(`${swarm.page}#/hosts`);
  await page.getByRole('button', { name: 'Tear down all of harbour: show the plan' }).click();
  const dialog = page.getByRole('dialog', { name: 'Tear down all of harbour?' });
  await expect(dialog.getByText('Some of the deckies are protected.')).toBeVisible();
  await expect(dialog.getByRole('img', { name: 'protected' })).toHaveCount(1);
  await expect(dialog.getByRole('button', { name: /^Tear down/ })).toHaveCount(0);
});

test('the dialog for a whole host shows its plan, and the new plan when the deckies have changed', async ({
  swarm,
  openPage,
}) => {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  const page = await openPage('operator', '#/hosts');
  await page.getByRole('button', { name: /^Tear down all of harbour/ }).click();
  const dialog = page.getByRole('dialog', { name: 'Tear down all of harbour?' });
  await expect(dialog.getByRole('listitem')).toHaveCount(2);
  await dialog.getByLabel('Reason').fill('rotating lures');

  await agent.sendHeartbeat(['decky-01', 'decky-02', 'decky-03']);
  await expect(page.getByRole('link', { name: 'Deckies 3', exact: true })).toBeAttached();
  await dialog.getByRole('button', { name: 'Tear down 2 deckies on harbour' }).click();
  await dialog.getByRole('button', { name: 'Confirm: Tear down 2 deckies on harbour' }).click();
  await expect(dialog.getByText('The deckies on this host have changed.')).toBeVisible();
  await expect(dialog.getByRole('listitem')).toHaveCount(3);

  await dialog.getByRole('button', { name: 'Tear down 3 deckies on harbour' }).click();
  await dialog.getByRole('button', { name: 'Confirm: Tear down 3 deckies on harbour' }).click();
  await expect(dialog).toHaveCount(0);
  const command = await agent.nextCommand();
  expect(command.decky_id ?? null).toBeNull();
  await expect(page.getByRole('row').last().getByRole('link', { name: 'queued' })).toBeVisible();
  agent.sendProgress(command, 'started');
  await agent.sendResult(command, { 'decky-01': null, 'decky-02': null, 'decky-03': null });
  await expect(page.getByRole('link', { name: 'Deckies 0', exact: true })).toBeVisible();
  const { operations } = await swarm.request<{ operations: { reason: string }[] }>('swarm.operations.list', {});
  expect(operations.map((operation) => operation.reason)).toEqual(['rotating lures']);
});

test('a queued operation shows why it waits, and can be cancelled', async ({ swarm, openPage }) => {
  await swarm.startAgent('harbour', ['decky-01']);
  const { operation_id } = await swarm.request<{ operation_id: string }>('swarm.teardown', {
    host_uuid: 'harbour',
    decky_id: 'decky-01',
  });
  const page = await openPage('operator', `#/op/${operation_id}`);
  await expect(page.getByText('the command was sent, but the agent has not confirmed it yet')).toBeVisible();
  await page.getByRole('button', { name: 'Cancel the teardown of decky-01 on harbour' }).click();
  await page.getByRole('button', { name: 'Confirm: Cancel the teardown of decky-01 on harbour' }).click();
  await expect(page.getByText('cancelled', { exact: true }).first()).toBeVisible();
  await page.goto(`${swarm.page}#/deckies`);
  await expect(page.getByRole('row').last()).toContainText('running');
});

test('a failed request shows its error next to the button', async ({ swarm, openPage }) => {
  await swarm.startAgent('harbour', ['decky-01']);
  const page = await openPage('operator', '#/deckies');
  await page.getByRole('button', { name: 'Tear down decky-01 on harbour', exact: true }).click();
  await swarm.stopController();
  await page.getByRole('button', { name: 'Confirm: Tear down decky-01 on harbour' }).click();
  const row = page.getByRole('row').last();
  await expect(row.getByRole('alert')).toContainText('No controller responds. Nothing was changed');
  await row.getByRole('button', { name: 'Dismiss' }).click();
  await expect(row.getByRole('alert')).toHaveCount(0);
  await expect(row.getByRole('button', { name: 'Tear down decky-01 on harbour', exact: true })).toBeEnabled();
});
