// @modelcontextprotocol/sdk: node sdk-v1.mjs URL
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { walk } from './walk.mjs';

const asks = { messages: [], v1: true };
const client = new Client({ name: 'check', version: '1.0.0' }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, (request) => {
  asks.messages.push(request.params.message);
  return asks.answer;
});
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
await walk(client, { asks });
