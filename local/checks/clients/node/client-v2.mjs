// @modelcontextprotocol/client: node client-v2.mjs URL legacy|modern
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { walk } from './walk.mjs';

const [url, era] = process.argv.slice(2);
const asks = { messages: [] };
const client = new Client(
  { name: 'check', version: '1.0.0' },
  { capabilities: { elicitation: {} }, ...(era === 'modern' ? { versionNegotiation: { mode: { pin: '2026-07-28' } } } : {}) },
);
client.setRequestHandler('elicitation/create', (request) => {
  asks.messages.push(request.params.message);
  return asks.answer;
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
await walk(client, { asks });
