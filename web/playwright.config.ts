// The test projects: unit tests without a browser, and the page in Chromium with a real server, controller and agents.

import { defineConfig } from '@playwright/test';

const chromium = process.env['SCUTTLE_CHROMIUM'] ?? '/usr/bin/chromium';
const flags = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const browser = {
  launchOptions: { executablePath: chromium, args: flags },
  viewport: { width: 1280, height: 800 },
};

export default defineConfig({
  // One worker: the server, the controller, the agents and the browser of one test already use both cores of a CI machine.
  workers: 1,
  timeout: 90_000,
  expect: { timeout: 20_000 },
  reporter: 'list',
  forbidOnly: true,
  projects: [
    { name: 'unit', testDir: 'tests/unit' },
    {
      name: 'e2e',
      testDir: 'tests/e2e',
      testIgnore: '**/screenshots.spec.ts',
      use: { ...browser, trace: 'retain-on-failure' },
    },
    { name: 'screenshots', testDir: 'tests/e2e', testMatch: '**/screenshots.spec.ts', use: browser },
  ],
});
