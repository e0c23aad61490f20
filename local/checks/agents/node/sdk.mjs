// @modelcontextprotocol/sdk by itself, as agents of one's own and older frameworks embed it: node sdk.mjs URL MODULE
import { show } from './show.mjs';

const module = process.argv[3];
const { Client } = await import(`${module}/client/index.js`);
const { StreamableHTTPClientTransport } = await import(`${module}/client/streamableHttp.js`);

await show(async (url) => {
  const client = new Client({ name: 'agent', version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return {
    async ask(model, signal) {
      const tools = [];
      let cursor;
      do {
        const page = await client.listTools({ cursor }, { signal });
        tools.push(...page.tools.map((t) => ({ name: t.name, description: t.description, schema: t.inputSchema })));
        cursor = page.nextCursor;
      } while (cursor);
      const { name, args } = model.turn(tools);
      const { content, isError } = await client.callTool({ name, arguments: args }, undefined, { signal });
      model.turn(tools, { content, isError });
    },
    close: () => client.close(),
  };
});
