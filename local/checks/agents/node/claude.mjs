// @anthropic-ai/claude-agent-sdk, which runs Claude Code: in one session, without a login
import { query } from '@anthropic-ai/claude-agent-sdk';
import { anthropic } from './loopback.mjs';
import { show } from './show.mjs';

await show(async (url) => {
  let model;
  const prompts = [];
  let prompted;
  const wait = () => new Promise((resolve) => (prompted = resolve));
  async function* input() {
    for (;;) {
      while (prompts.length === 0) {
        await wait();
      }
      yield { type: 'user', message: { role: 'user', content: prompts.shift() }, parent_tool_use_id: null };
    }
  }
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    ANTHROPIC_API_KEY: 'none',
    ANTHROPIC_BASE_URL: await anthropic(() => model, (name) => name.startsWith('mcp__erlmcp__')),
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    ENABLE_TOOL_SEARCH: 'false',
  };
  const session = query({
    prompt: input(),
    options: {
      env,
      cwd: env.HOME,
      model: 'claude-fake',
      tools: [], // of its own
      mcpServers: { erlmcp: { type: 'http', url } },
      strictMcpConfig: true,
      allowedTools: ['mcp__erlmcp'],
      settingSources: [],
      persistSession: false,
    },
  });
  const messages = session[Symbol.asyncIterator]();
  return {
    async ask(m, signal) {
      model = m;
      prompts.push('go');
      prompted?.();
      signal.addEventListener('abort', () => session.interrupt(), { once: true });
      for (;;) {
        const { value, done } = await messages.next();
        if (done || value.type === 'result') {
          if (value?.subtype !== 'success' || value?.is_error) {
            throw new Error(`${value?.subtype}: ${value?.result ?? ''}`);
          }
          return;
        }
      }
    },
    close: async () => session.close(),
  };
});
