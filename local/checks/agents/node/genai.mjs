// @google/genai with mcpToTool, on the client of @modelcontextprotocol/sdk
import { GoogleGenAI, mcpToTool } from '@google/genai';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { gemini } from './loopback.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  let model;
  const baseUrl = await gemini(() => model);
  const ai = new GoogleGenAI({ apiKey: 'none', httpOptions: { baseUrl } });
  const client = new Client({ name: 'agent', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return {
    async ask(m, abortSignal) {
      model = m;
      await ai.models.generateContent({ model: 'gemini-fake', contents: 'go', config: { tools: [mcpToTool(client)], abortSignal } });
    },
    close: () => client.close(),
  };
});
