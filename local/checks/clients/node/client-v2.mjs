// @modelcontextprotocol/client: node client-v2.mjs walk|failures|searched|listed URL legacy|modern
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { acts, counting } from './walk.mjs';

const [act, url, era] = process.argv.slice(2);
const modern = era === 'modern';
const asks = act === 'walk' || act === 'searched';
const { sent, fetch } = counting();
const client = new Client(
  { name: 'check', version: '1.0.0' },
  { capabilities: asks ? { elicitation: {} } : {}, ...(modern ? { versionNegotiation: { mode: { pin: '2026-07-28' } } } : {}) },
);
const peer = { client, modern, sent, asked: [], call: (params, options) => client.callTool(params, options) };
if (asks) {
  client.setRequestHandler('elicitation/create', (request) => {
    peer.asked.push(request.params.message);
    return peer.answer;
  });
}
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch }));
console.log(JSON.stringify(await acts[act](peer)));
await client.close();
