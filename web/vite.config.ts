// How the page is built: plain files with names that change with their content, and no script or style in the HTML, which the
// Content-Security-Policy would refuse.

import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  // dist/ itself is kept: it has to be there for the controller to be built.
  build: {
    emptyOutDir: false,
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 300,
  },
});
