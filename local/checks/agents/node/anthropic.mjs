// @anthropic-ai/sdk with its helpers for MCP, on the client of @modelcontextprotocol/sdk
import Anthropic from '@anthropic-ai/sdk';
import { mcpTools } from '@anthropic-ai/sdk/helpers/beta/mcp';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { anthropic } from './loopback.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  let model;
  const api = new Anthropic({ apiKey: 'none', baseURL: await anthropic(() => model), maxRetries: 0 });
  const client = new Client({ name: 'agent', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return {
    async ask(m, signal) {
      model = m;
      const tools = [];
      let cursor;
      do {
        const page = await client.listTools({ cursor }, { signal });
        tools.push(...page.tools);
        cursor = page.nextCursor;
      } while (cursor);
      const messages = [{ role: 'user', content: 'go' }];
      await api.beta.messages.toolRunner({ model: 'fake', max_tokens: 100, messages, tools: mcpTools(tools, client) }, { signal });
    },
    close: () => client.close(),
  };
});
