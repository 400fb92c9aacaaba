// Signing in, in each role, and what is said when it does not work.

import { expect, signIn, test } from './fixtures';
import { password } from './swarm';

test('an operator signs in, and has buttons', async ({ swarm, enter }) => {
  await swarm.agent('harbour', ['decky-01', 'decky-02']);
  const page = await enter('operator', '#/deckies');
  await expect(page.getByText('operator', { exact: true }).last()).toBeVisible();
  await expect(page.getByRole('button', { name: 'Tear down decky-01 on harbour' })).toBeEnabled();
  await page.getByRole('link', { name: /^Hosts/ }).click();
  await expect(page.getByRole('button', { name: 'Tear down all of harbour' })).toBeEnabled();
});

test('a viewer sees everything, and no button that would be refused', async ({ swarm, enter }) => {
  const agent = await swarm.agent('harbour', ['decky-01', 'decky-02']);
  await swarm.ask('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01' });
  const command = await agent.command();
  agent.says(command, 'started');
  await agent.ends(command, { 'decky-01': 'container busy' });
  await swarm.ask('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-02' });

  const page = await enter('viewer');
  await expect(page.getByText('viewer', { exact: true }).last()).toBeVisible();
  const refused = page.getByRole('button', { name: /tear down|retry|cancel|confirm/i });
  await expect(page.getByText('container busy').filter({ visible: true }).first()).toBeVisible();
  await expect(refused).toHaveCount(0);
  for (const hash of [
    '#/hosts',
    '#/deckies',
    '#/deckies?view=map&decky=harbour/decky-01',
    '#/operations',
    `#/op/${command.operation_id}`,
  ]) {
    await page.goto(`${swarm.page}${hash}`);
    await expect(page.getByRole('main').getByText('harbour').filter({ visible: true }).first()).toBeVisible();
    await expect(refused, hash).toHaveCount(0);
  }
  await page.goto(`${swarm.page}#/op/${command.operation_id}`);
  await expect(page.getByText('container busy').filter({ visible: true }).first()).toBeVisible();
});

test('a wrong password is told, and the right one then goes', async ({ swarm, page }) => {
  await page.goto(swarm.page);
  await signIn(page, 'operator', 'wrong');
  await expect(page.getByRole('alert')).toContainText('does not know the user “operator” with this password');
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByText('live', { exact: true })).toBeVisible();
});

test('a file that is no credentials file is told', async ({ swarm, page }) => {
  await page.goto(swarm.page);
  await page.getByText('Credentials file').click();
  await page
    .locator('input[type=file]')
    .setInputFiles({ name: 'me.creds', mimeType: 'text/plain', buffer: Buffer.from('nothing') });
  await page.getByRole('button', { name: 'Sign in' }).click();
  await expect(page.getByRole('alert')).toContainText('not a credentials file');
});

test('no server is told', async ({ swarm, page }) => {
  swarm.proxy.cut();
  await page.goto(swarm.page);
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByRole('alert')).toContainText('No NATS server answers');
});

test('no controller is told, and found by itself when it is back', async ({ swarm, page }) => {
  await swarm.agent('harbour', ['decky-01']);
  await page.goto(swarm.page);
  await expect(page.getByText(swarm.proxy.url)).toBeVisible();
  await swarm.stopController();
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByRole('alert')).toContainText('No controller answers');
  await swarm.startController();
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Deckies 1', exact: true })).toBeVisible();
});

test.describe('where everybody has a credentials file', () => {
  test.use({ withCreds: true });

  test('it signs in, in each role, and is kept in memory alone', async ({ swarm, page }) => {
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
