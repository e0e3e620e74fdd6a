/** A site of files for tests, which counts what is asked of it and may hold its answers back. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export class Site {
  readonly files = new Map<string, Buffer>();
  /** Whole files that were sent, by name; and how many at most were being sent at the same time. */
  readonly sent = new Map<string, number>();
  mostAtOnce = 0;
  /** Bodies wait for it, but for those of a single byte. */
  release: Promise<void> = Promise.resolve();
  address = '';
  #sending = 0;
  readonly #server = createServer(async (request, response) => {
    const name = request.url!.slice(1);
    const content = this.files.get(name);
    if (content === undefined) return void response.writeHead(404).end();
    const etag = `"${createHash('sha256').update(content).digest('hex')}"`;
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end();
    if (request.headers.range === 'bytes=0-0') {
      const range = `bytes 0-0/${content.length}`;
      return void response
        .writeHead(206, { etag, 'content-length': 1, 'content-range': range })
        .end(content.subarray(0, 1));
    }
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#sending);
    response.writeHead(200, { etag, 'content-length': content.length });
    response.flushHeaders();
    await this.release;
    this.#sending -= 1;
    this.sent.set(name, (this.sent.get(name) ?? 0) + 1);
    response.end(content);
  });

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.address = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  url(name: string): string {
    return `${this.address}/${name}`;
  }

  /** Forgets what was asked of it. */
  clear(): void {
    this.sent.clear();
    this.mostAtOnce = 0;
  }
}
