// Serves a folder as the controller serves the page: for work on the page alone, without building the controller anew.

import { createServer, type Server } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
};

export async function serve(dist: string, natsUrl: string): Promise<{ url: string; stop: () => Promise<void> }> {
  const policy =
    `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; manifest-src 'self'; ` +
    `connect-src 'self' ${natsUrl}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
  const server: Server = createServer((request, answer) => {
    void (async () => {
      const path = new URL(request.url ?? '/', 'http://localhost').pathname;
      answer.setHeader('Content-Security-Policy', policy);
      if (path === '/config.json') {
        answer.setHeader('Content-Type', 'application/json');
        answer.end(JSON.stringify({ nats_url: natsUrl, version: '0.1.0' }));
        return;
      }
      const file = join(dist, normalize(path === '/' ? '/index.html' : path));
      try {
        const bytes = await readFile(file);
        answer.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
        answer.end(bytes);
      } catch {
        answer.writeHead(404).end('not found\n');
      }
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const stop = async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, stop };
}
