// What every client is asked to do. Each function returns what came of it; peer is the client and what the versions of it
// differ in.
export async function walk(peer) {
  const { client } = peer;
  const got = {};
  const attempt = async (fn) => {
    try {
      return await fn();
    } catch (e) {
      return { error: { code: e.code, message: e.message } };
    }
  };
  const text = (r) => r.error ?? { text: r.content?.map((c) => c.text).filter(Boolean).join(' '), isError: r.isError ?? false };
  const call = (name, args = {}, options) => peer.call({ name, arguments: args }, options);

  // One client walks the pages by itself, the other leaves it to its user.
  const before = peer.sent('tools/list');
  let cursor;
  got.tools = [];
  do {
    const page = await client.listTools(cursor ? { cursor } : {});
    got.tools.push(...page.tools.map((t) => t.name));
    cursor = page.nextCursor;
  } while (cursor);
  got.pages = peer.sent('tools/list') - before;

  got.sum = (await call('add', { a: 2, b: 3 })).structuredContent;
  got.badArguments = text(await attempt(() => call('add', { a: 'x', b: 1 })));
  got.fail = text(await attempt(() => call('fail')));
  got.unknown = text(await attempt(() => call('nope')));
  got.many = (await call('many')).content.map((c) => `${c.type} ${c.text ?? c.data ?? c.resource?.text ?? c.uri}`);
  got.shard = text(await attempt(() => call('shard', { shard: 'größe' })));

  await attempt(() => call('rare'));
  got.refused = text(await attempt(() => call('rare')));

  got.progress = [];
  got.countdown = text(await attempt(() => call('countdown', {}, { onprogress: (p) => got.progress.push(p.progress) })));

  peer.answer = { action: 'accept', content: { confirm: true } };
  got.removeAccepted = text(await attempt(() => call('remove', { name: 'x' })));
  peer.answer = { action: 'decline' };
  got.removeDeclined = text(await attempt(() => call('remove', { name: 'x' })));
  got.asked = peer.asked;

  const running = async () => (await call('waiting')).structuredContent.running;
  const idle = await running();
  const begin = Date.now();
  got.cancelled = await attempt(() => call('wait', {}, { signal: AbortSignal.timeout(100) }));
  got.cancelledAfter = Date.now() - begin;
  if (peer.modern) {
    const limit = Date.now() + 2000;
    while ((got.stillWaiting = (await running()) > idle) && Date.now() < limit) {
      await new Promise((r) => setTimeout(r, 20));
    }
  }

  got.resources = (await client.listResources()).resources.map((r) => r.uri);
  got.templates = (await client.listResourceTemplates()).resourceTemplates.map((r) => r.uriTemplate);
  got.prompts = (await client.listPrompts()).prompts.map((p) => p.name);
  got.resource = (await client.readResource({ uri: 'note://hello' })).contents[0].text;
  got.fromTemplate = (await client.readResource({ uri: 'note://there' })).contents[0].text;
  got.missing = await attempt(() => client.readResource({ uri: 'note://nothing' }));
  got.prompt = (await client.getPrompt({ name: 'greet', arguments: { who: 'Ada' } })).messages[0].content.text;
  got.completion = (await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'a' } })).completion.values;
  got.after = (await call('add', { a: 20, b: 22 })).structuredContent;
  return got;
}

// failures tells what the client's user sees when a call fails, and whether the connection outlives it. The client must
// not have declared that it can ask its user.
export async function failures(peer) {
  const call = (name, args = {}) => peer.call({ name, arguments: args });
  await call('rare').catch(() => {});
  const got = [];
  for (const [what, fn] of [
    ['tool error', () => call('fail')],
    ['bad arguments', () => call('add', { a: 'x', b: 1 })],
    ['unknown tool', () => call('nope')],
    ['refusal', () => call('rare')],
    ['policy', () => call('add', { a: 5000, b: 1 })],
    ['question', () => call('remove', { name: 'x' })],
    ['too large', () => call('remove', { name: 'x'.repeat(5 << 20) })],
    ['missing resource', () => peer.client.readResource({ uri: 'note://nothing' })],
  ]) {
    let shown;
    try {
      const r = await fn();
      shown = `${r.isError ? 'tool error' : 'NO ERROR'}: ${r.content?.[0]?.text}`;
    } catch (e) {
      shown = `${e.name} ${e.code}: ${e.message}`;
    }
    const next = await call('add', { a: 1, b: 1 }).catch((e) => e);
    got.push({ what, shown, survived: next.structuredContent?.sum === 2 });
  }
  return got;
}

// searched finds tools and calls them by the two that stand in place of the list.
export async function searched(peer) {
  const call = (name, args) => peer.call({ name: 'call_tool', arguments: { name, arguments: args } });
  const text = (r) => ({ text: r.content?.map((c) => c.text).join(' '), isError: r.isError ?? false });
  const got = { tools: (await peer.client.listTools()).tools.map((t) => t.name) };
  const found = await peer.call({ name: 'find_tools', arguments: { query: 'add two numbers', limit: 2 } });
  got.found = found.structuredContent.tools.map((t) => t.name);
  const [best] = JSON.parse(found.content[0].text).tools;
  got.schema = Object.keys(best.inputSchema.properties).join(' ');
  got.sum = (await call(best.name, { a: 2, b: 3 })).structuredContent;
  got.badArguments = text(await call('add', { a: 'x', b: 1 }));
  got.unknown = text(await call('nope', {}));
  got.shard = text(await call('shard', { shard: 'eu' }));
  await call('rare', {});
  got.refused = text(await call('rare', {}));
  peer.answer = { action: 'accept', content: { confirm: true } };
  got.removed = text(await call('remove', { name: 'x' }));
  got.direct = (await peer.call({ name: 'add', arguments: { a: 1, b: 1 } })).structuredContent;
  return got;
}

// listed tells what tools there are.
export async function listed(peer) {
  const tools = (await peer.client.listTools()).tools.map((t) => t.name);
  return { tools, sum: (await peer.call({ name: 'add', arguments: { a: 2, b: 3 } })).structuredContent };
}

// counting is a fetch that counts requests by their method.
export function counting() {
  const counts = {};
  return {
    sent: (method) => counts[method] ?? 0,
    fetch: (url, init) => {
      const { method } = typeof init?.body === 'string' ? JSON.parse(init.body) : {};
      counts[method] = (counts[method] ?? 0) + 1;
      return fetch(url, init);
    },
  };
}

export const acts = { walk, failures, searched, listed };
