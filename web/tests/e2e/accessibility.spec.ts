// Accessibility: no serious violation on any page, light or dark; the width of a phone; and the keyboard alone.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from '@playwright/test';
import type { AxeResults } from 'axe-core';
import { expect, signIn, test } from './fixtures';
import { password, type Swarm } from './swarm';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const phone = { width: 360, height: 740 };

/** Fills the swarm with hosts, deckies and operations in every state, and returns the addresses of all pages. */
async function populate(swarm: Swarm): Promise<string[]> {
  const agent = await swarm.startAgent('harbour', ['decky-01', 'decky-02', 'decky-03', 'decky-04']);
  await swarm.request('swarm.teardown', { host_uuid: 'harbour', decky_id: 'decky-01', reason: 'rotating lures' });
  const command = await agent.nextCommand();
  agent.sendProgress(command, 'started');
  await agent.sendResult(command, { 'decky-01': 'a_long_error_without_any_space_'.repeat(12) });
  const { operation_id } = await swarm.request<{ operation_id: string }>('swarm.teardown', {
    host_uuid: 'harbour',
    decky_id: 'decky-02',
  });
  await swarm.startAgent('a-host-with-a-name-as-long-as-it-may-be-'.padEnd(64, 'x'), [
    'decky-with-a-long-name-'.repeat(2),
  ]);
  await swarm.request('swarm.hosts.enroll', { name: 'never-heard' });
  return [
    '#/overview',
    '#/hosts',
    '#/deckies',
    '#/deckies?host=harbour',
    '#/deckies?q=matches-nothing',
    '#/deckies?view=map&decky=harbour/decky-01',
    '#/operations',
    `#/op/${command.operation_id}`,
    `#/op/${operation_id}`,
    '#/op/00000000-0000-7000-8000-000000000000',
  ];
}

test('no page has a serious accessibility violation, light or dark', async ({ swarm, page, openPage }) => {
  const addresses = await populate(swarm);
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.goto('about:blank');
    await page.goto(swarm.page);
    await expect(page.getByText(swarm.proxy.url)).toBeVisible();
    expect(await seriousViolations(page), `sign-in, ${colorScheme}`).toEqual([]);
    await openPage('operator');
    for (const address of addresses) {
      await page.goto(`${swarm.page}${address}`);
      await waitUntilLoaded(page);
      expect(await seriousViolations(page), `${address}, ${colorScheme}`).toEqual([]);
    }
    await page.goto(`${swarm.page}#/hosts`);
    await page.getByRole('button', { name: /^Tear down all of never-heard/ }).click();
    await expect(page.getByText('This host has no deckies on record.')).toBeVisible();
    expect(await seriousViolations(page), `dialog, ${colorScheme}`).toEqual([]);
  }
});

test('no page is wider than a phone', async ({ swarm, page }) => {
  const addresses = await populate(swarm);
  await page.setViewportSize(phone);
  await page.goto(swarm.page);
  await expect(page.getByText(swarm.proxy.url)).toBeVisible();
  expect(await overflow(page), 'sign-in').toBe(0);
  await signIn(page, 'operator', password('operator'));
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  for (const address of addresses) {
    await page.goto(`${swarm.page}${address}`);
    await waitUntilLoaded(page);
    expect(await overflow(page), address).toBe(0);
  }
});

test('an operator can use the map, the details of a decky and its teardown with the keyboard alone', async ({
  swarm,
  openPage,
}) => {
  await swarm.startAgent('harbour', ['decky-01', 'decky-02', 'decky-03']);
  await swarm.startAgent('lighthouse', ['decky-01', 'decky-02']);
  const page = await openPage('operator', '#/deckies?view=map');
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
  // The address contains the view and the selection, so the link can be shared.
  expect(new URL(page.url()).hash).toBe('#/deckies?view=map&decky=harbour%2Fdecky-02');
});

test('the user can choose the theme, which is all that the browser stores', async ({ page, openPage }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await openPage('viewer');
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'Theme: system' }).click();
  await page.getByRole('button', { name: 'Theme: light' }).click();
  await expect(page.getByRole('button', { name: 'Theme: dark' })).toBeVisible();
  expect(await ground()).not.toBe(light);
  await page.reload();
  await expect(page.getByRole('button', { name: 'Theme: dark' })).toBeVisible();
  expect(await ground()).not.toBe(light);
  expect(await page.evaluate(() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)])).toEqual([
    'scuttle-theme',
  ]);
});

/** Waits until the page has loaded its data. */
async function waitUntilLoaded(page: Page): Promise<void> {
  await expect(page.getByText('live', { exact: true })).toBeVisible();
  await expect(page.locator('.loading')).toHaveCount(0);
  await expect(page.getByRole('main')).not.toBeEmpty();
}

/** Returns the serious and critical violations that axe finds. */
async function seriousViolations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const results = await page.evaluate(() => (window as unknown as { axe: { run(): Promise<AxeResults> } }).axe.run());
  expect(results.passes.length, 'rules that axe checked').toBeGreaterThan(5);
  return results.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(
      (violation) =>
        `${violation.id}: ${violation.nodes
          .map((node) => `${node.html} ${node.any[0]?.message ?? ''}`)
          .slice(0, 3)
          .join(' | ')}`,
    );
}

/** The width in pixels by which the page can be scrolled sideways. */
const overflow = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
