// @langchain/mcp-adapters with langchain's agent
import { MultiServerMCPClient } from '@langchain/mcp-adapters';
import { createAgent } from 'langchain';
import { FakeChat } from './fakechat.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  const client = new MultiServerMCPClient({ mcpServers: { erlmcp: { transport: 'http', url } } });
  return {
    async ask(model, signal) {
      const agent = createAgent({ model: new FakeChat(model), tools: await client.getTools() });
      await agent.invoke({ messages: [{ role: 'user', content: 'go' }] }, { signal });
    },
    close: () => client.close(),
  };
});
