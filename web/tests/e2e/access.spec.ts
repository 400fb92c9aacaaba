// For everybody: no serious fault on any page, light or dark; a phone's width; and the keyboard alone.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from '@playwright/test';
import type { AxeResults } from 'axe-core';
import { expect, signIn, test } from './fixtures';
import { password, type Swarm } from './swarm';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const phone = { width: 360, height: 740 };

/** A swarm in which there is something of everything, and the addresses of all pages of it. */
async function everything(swarm: Swarm): Promise<string[]> {
  const agent = await swarm.agent('harbour', ['decky-01', 'decky-02', 'decky-03', 'decky-04']);
  await swarm.ask('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01', reason: 'rotating lures' });
  const command = await agent.command();
  agent.says(command, 'started');
  await agent.ends(command, { 'decky-01': 'a_long_error_without_any_space_'.repeat(12) });
  const { operation_id } = await swarm.ask<{ operation_id: string }>('swarm.teardown', {
    host_uuid: 'harbour',
    decky_id: 'decky-02',
  });
  await swarm.agent('a-host-with-a-name-as-long-as-it-may-be-'.padEnd(64, 'x'), ['decky-with-a-long-name-'.repeat(2)]);
  await swarm.ask('swarm.hosts.enroll', { name: 'never-heard' });
  return [
    '#/overview',
    '#/hosts',
    '#/deckies',
    '#/deckies?host=harbour',
    '#/deckies?q=nothing-is-like-this',
    '#/deckies?view=map&decky=harbour/decky-01',
    '#/operations',
    `#/op/${command.operation_id}`,
    `#/op/${operation_id}`,
    '#/op/00000000-0000-7000-8000-000000000000',
  ];
}

test('no page has a serious fault, light or dark', async ({ swarm, page, enter }) => {
  const addresses = await everything(swarm);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('about:blank');
    await page.goto(swarm.page);
    await expect(page.getByText(swarm.proxy.url)).toBeVisible();
    expect(await faults(page), `sign-in, ${colorScheme}`).toEqual([]);
    await enter('operator');
    for (const address of addresses) {
      await page.goto(`${swarm.page}${address}`);
      await settled(page);
      expect(await faults(page), `${address}, ${colorScheme}`).toEqual([]);
    }
    await page.goto(`${swarm.page}#/hosts`);
    await page.getByRole('button', { name: /^Tear down all of never-heard/ }).click();
    await expect(page.getByText('No decky of it is on the record.')).toBeVisible();
    expect(await faults(page), `dialog, ${colorScheme}`).toEqual([]);
  }
});

test('nothing is wider than a phone', async ({ swarm, page }) => {
  const addresses = await everything(swarm);
  await page.setViewportSize(phone);
  await page.goto(swarm.page);
  await expect(page.getByText(swarm.proxy.url)).toBeVisible();
  expect(await overflow(page), 'sign-in').toBe(0);
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  for (const address of addresses) {
    await page.goto(`${swarm.page}${address}`);
    await settled(page);
    expect(await overflow(page), address).toBe(0);
  }
});

test('with the keyboard alone: the map, a decky, and its teardown', async ({ swarm, enter }) => {
  await swarm.agent('harbour', ['decky-01', 'decky-02', 'decky-03']);
  await swarm.agent('lighthouse', ['decky-01', 'decky-02']);
  const page = await enter('operator', '#/deckies?view=map');
  const focused = () => page.evaluate(() => (document.activeElement as HTMLElement | null)?.dataset['key'] ?? '');

  await page.getByRole('button', { name: 'Map', exact: true }).focus();
  for (let tabs = 0; tabs < 15 && (await focused()) === ''; tabs += 1) await page.keyboard.press('Tab');
  expect(await focused()).toBe('harbour/decky-01');
  for (const [key, lands] of [
    ['ArrowRight', 'harbour/decky-02'],
    ['ArrowRight', 'harbour/decky-03'],
    ['ArrowRight', 'lighthouse/decky-01'],
    ['ArrowLeft', 'harbour/decky-03'],
    ['End', 'lighthouse/decky-02'],
    ['Home', 'harbour/decky-01'],
    ['ArrowRight', 'harbour/decky-02'],
  ] as const) {
    await page.keyboard.press(key);
    await expect.poll(focused, { message: key }).toBe(lands);
  }
  await page.keyboard.press('Enter');
  const panel = page.getByRole('complementary', { name: 'Decky decky-02 on harbour' });
  await expect(panel).toBeVisible();
  await panel.getByRole('button', { name: /^Tear down/ }).focus();
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await expect(panel).toContainText('tearing down');
  // A link to what is shown can be shared.
  expect(new URL(page.url()).hash).toBe('#/deckies?view=map&decky=harbour%2Fdecky-02');
});

test('light or dark can be chosen, and is all that the browser keeps', async ({ page, enter }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await enter('viewer');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'Colours: system' }).click();
  await page.getByRole('button', { name: 'Colours: light' }).click();
  await expect(page.getByRole('button', { name: 'Colours: dark' })).toBeVisible();
  expect(await ground()).not.toBe(light);
  await page.reload();
  await expect(page.getByRole('button', { name: 'Colours: dark' })).toBeVisible();
  expect(await ground()).not.toBe(light);
  expect(await page.evaluate(() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)])).toEqual([
    'scuttle-theme',
  ]);
});

/** Waits until nothing is on its way any more. */
async function settled(page: Page): Promise<void> {
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  await expect(page.locator('.loading')).toHaveCount(0);
  await expect(page.getByRole('main')).not.toBeEmpty();
}

/** Serious and critical faults that axe finds. */
async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate(() => (window as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run());
  expect(found.passes.length, 'rules that axe has looked at').toBeGreaterThan(5);
  return found.violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map(
      (one) =>
        `${one.id}: ${one.nodes
          .map((node) => `${node.html} ${node.any[0]?.message ?? ''}`)
          .slice(0, 3)
          .join(' | ')}`,
    );
}

/** By how much the page can be scrolled sideways. */
const overflow = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
