// Builds the page as static files whose names contain a hash of their content. The HTML contains no inline script or style,
// which the Content-Security-Policy would block.

import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  // Keep dist/ itself: the controller embeds it and does not build without it.
  build: {
    emptyOutDir: false,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 300,
  },
});
