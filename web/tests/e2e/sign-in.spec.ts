// Signing in with each role, and the messages when it fails.

import { expect, signIn, test } from './fixtures';
import { password } from './swarm';

test('an operator signs in and can use the teardown buttons', async ({ swarm, openPage }) => {
  await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  const page = await openPage('operator', '#/deckies');
  await expect(page.getByText('operator', { exact: true }).last()).toBeVisible();
  await expect(page.getByRole('button', { name: 'Tear down decky-01 on harbour' })).toBeEnabled();
  await page.getByRole('link', { name: /^Hosts/ }).click();
  await expect(page.getByRole('button', { name: 'Tear down all of harbour' })).toBeEnabled();
});

test('a viewer sees everything except the buttons of operators', async ({ swarm, openPage }) => {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  await swarm.request('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01' });
  const command = await agent.nextCommand();
  agent.sendProgress(command, 'started');
  await agent.sendResult(command, { 'decky-01': 'container busy' });
  await swarm.request('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-02' });

  const page = await openPage('viewer');
  await expect(page.getByText('viewer', { exact: true }).last()).toBeVisible();
  const operatorButtons = page.getByRole('button', { name: /tear down|retry|cancel|confirm/i });
  await expect(page.getByText('container busy').filter({ visible: true }).first()).toBeVisible();
  await expect(operatorButtons).toHaveCount(0);
  for (const hash of [
    '#/hosts',
    '#/deckies',
    '#/deckies?view=map&decky=harbour/decky-01',
    '#/operations',
    `#/op/${command.operation_id}`,
  ]) {
    await page.goto(`${swarm.page}${hash}`);
    await expect(page.getByRole('main').getByText('harbour').filter({ visible: true }).first()).toBeVisible();
    await expect(operatorButtons, hash).toHaveCount(0);
  }
  await page.goto(`${swarm.page}#/op/${command.operation_id}`);
  await expect(page.getByText('container busy').filter({ visible: true }).first()).toBeVisible();
});

test('the page reports a wrong password, and then accepts the right one', async ({ swarm, page }) => {
  await page.goto(swarm.page);
  await signIn(page, 'operator', 'wrong');
  await expect(page.getByRole('alert')).toContainText('rejected the user “operator” or the password');
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByText('live', { exact: true })).toBeVisible();
});

test('the page reports a file that is not a credentials file', async ({ swarm, page }) => {
  await page.goto(swarm.page);
  await page.getByText('Credentials file').click();
  await page
    .locator('input[type=file]')
    .setInputFiles({ name: 'me.creds', mimeType: 'text/plain', buffer: Buffer.from('nothing') });
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('not a credentials file');
});

test('the page reports that no NATS server is reachable', async ({ swarm, page }) => {
  swarm.proxy.cut();
  await page.goto(swarm.page);
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByRole('alert')).toContainText('Cannot reach a NATS server');
});

test('the page reports that no controller responds, and follows it when it is back', async ({ swarm, page }) => {
  await swarm.startAgent('harbour', ['decky-01']);
  await page.goto(swarm.page);
  await expect(page.getByText(swarm.proxy.url)).toBeVisible();
  await swarm.stopController();
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByRole('alert')).toContainText('No controller responds');
  await swarm.startController();
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Deckies 1', exact: true })).toBeVisible();
});

test.describe('with credentials files', () => {
  test.use({ withCreds: true });

  test('an operator who is limited to a host has buttons for that host only', async ({ swarm, page }) => {
    for (const name of ['harbour', 'lighthouse']) await swarm.request('swarm.hosts.enroll', { name });
    await swarm.addLimitedOperator('bob', 'harbour');
    await page.goto(`${swarm.page}#/hosts`);
    await page.getByText('Credentials file').click();
    await page.locator('input[type=file]').setInputFiles(swarm.creds('bob'));
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page.locator('.who')).toHaveText('boboperator for 1 host');
    await expect(page.getByText('lighthouse')).toBeVisible();
    await expect(page.getByRole('button', { name: /lighthouse/ })).toHaveCount(0);
    await page.getByRole('button', { name: 'Tear down all of harbour: show the plan' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: /^Tear down/ }).click();
    await dialog.getByRole('button', { name: /^Confirm/ }).click();
    await expect(page.getByRole('link', { name: 'queued' }).first()).toBeVisible();
  });

  test('a user signs in with each role, and the credentials are kept in memory only', async ({ swarm, page }) => {
    for (const role of ['operator', 'viewer'] as const) {
      await page.goto('about:blank');
      await page.goto(swarm.page);
      await page.getByText('Credentials file').click();
      await page.locator('input[type=file]').setInputFiles(swarm.creds(role));
      await page.getByRole('button', { name: 'Sign in' }).click();
      await expect(page.getByText('live', { exact: true })).toBeVisible();
      await expect(page.locator('.who')).toHaveText(`${role}${role}`);
      expect(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).toBe('{}');
    }
  });
});
