// What the pages show of a swarm without deckies, and that nothing is cut off or overlaps.

import { expect, test } from './fixtures';

test('a swarm without deckies says what to do next', async ({ swarm, openPage }) => {
  const page = await openPage('operator', '#/overview');
  const states = page.getByRole('region', { name: 'Deckies by status' });
  await expect(states).toContainText('Enroll the first host with scuttle enroll NAME, and start its agent.');

  await swarm.request('swarm.hosts.enroll', { name: 'harbour', host_uuid: 'harbour' });
  await expect(states).toContainText('The agent of harbour has not connected yet. Start it with the command');

  // The deckies of another host do not make the new host one whose deckies are gone.
  await swarm.startAgent('lighthouse', ['decky-01']);
  await page.goto(`${swarm.page}#/deckies?host=harbour`);
  await expect(page.getByText('The agent of harbour has not connected yet.')).toBeVisible();
  await expect(page.getByText('No deckies left')).toHaveCount(0);
});

test('a text that is no operation ID is not found', async ({ openPage }) => {
  const page = await openPage('operator', '#/op/nothing');
  await expect(page.getByText('Operation not found.')).toBeVisible();
  await expect(page.getByText(/UUID|payload/)).toHaveCount(0);
});

test('the table of deckies stays whole next to the panel of a decky', async ({ swarm, openPage }) => {
  await swarm.startAgent('harbour', ['decky-01', 'decky-02']);
  const page = await openPage('operator', '#/deckies?decky=harbour/decky-01');
  await expect(page.getByRole('heading', { name: 'decky-01' })).toBeVisible();
  const table = (await page.getByRole('table').boundingBox())!;
  const button = page
    .getByRole('row')
    .last()
    .getByRole('button', { name: /^Tear down/ });
  const { x, width } = (await button.boundingBox())!;
  expect(x + width, 'the right edge of the button').toBeLessThan(table.x + table.width);
});
