// @modelcontextprotocol/sdk: node sdk-v1.mjs walk|failures|searched|listed URL
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { acts, counting } from './walk.mjs';

const [act, url] = process.argv.slice(2);
const asks = act === 'walk' || act === 'searched';
const { sent, fetch } = counting();
const client = new Client({ name: 'check', version: '1.0.0' }, { capabilities: asks ? { elicitation: {} } : {} });
const peer = { client, modern: false, sent, asked: [], call: (params, options) => client.callTool(params, undefined, options) };
if (asks) {
  client.setRequestHandler(ElicitRequestSchema, (request) => {
    peer.asked.push(request.params.message);
    return peer.answer;
  });
}
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch }));
console.log(JSON.stringify(await acts[act](peer)));
await client.close();
