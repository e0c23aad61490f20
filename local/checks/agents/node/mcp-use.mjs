// mcp-use: its client, and its agent on a model of LangChain
import { MCPAgent, MCPClient } from 'mcp-use';
import { FakeChat } from './fakechat.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  const client = MCPClient.fromDict({ mcpServers: { erlmcp: { url } } });
  return {
    async ask(model, signal) {
      const agent = new MCPAgent({ llm: new FakeChat(model), client, memoryEnabled: false, observe: false });
      await agent.run({ prompt: 'go', signal });
    },
    close: () => client.closeAllSessions(),
  };
});
