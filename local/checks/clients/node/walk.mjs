// What every client is asked to do; it prints what came of it as one JSON object.
export async function walk(client, { asks }) {
  const got = {};
  const attempt = async (fn) => {
    try {
      return await fn();
    } catch (e) {
      return { error: { code: e.code, message: e.message } };
    }
  };
  const text = (r) => r.error ?? { text: r.content?.map((c) => c.text).filter(Boolean).join(' '), isError: r.isError ?? false };

  let cursor;
  got.tools = [];
  do {
    const page = await client.listTools(cursor ? { cursor } : {});
    got.tools.push(...page.tools.map((t) => t.name));
    cursor = page.nextCursor;
  } while (cursor);
  got.tools = [...new Set(got.tools)];

  got.sum = (await client.callTool({ name: 'add', arguments: { a: 2, b: 3 } })).structuredContent;
  got.badArguments = text(await attempt(() => client.callTool({ name: 'add', arguments: { a: 'x', b: 1 } })));
  got.fail = text(await attempt(() => client.callTool({ name: 'fail', arguments: {} })));
  got.unknown = text(await attempt(() => client.callTool({ name: 'nope', arguments: {} })));
  got.many = (await client.callTool({ name: 'many', arguments: {} })).content.map((c) => c.type);
  got.shard = text(await attempt(() => client.callTool({ name: 'shard', arguments: { shard: 'größe' } })));

  await attempt(() => client.callTool({ name: 'rare', arguments: {} }));
  got.refused = text(await attempt(() => client.callTool({ name: 'rare', arguments: {} })));

  got.progress = [];
  const onprogress = (p) => got.progress.push(p.progress);
  const countdown = { name: 'countdown', arguments: {} };
  got.countdown = text(await attempt(() => (asks.v1 ? client.callTool(countdown, undefined, { onprogress }) : client.callTool(countdown, { onprogress }))));

  asks.answer = { action: 'accept', content: { confirm: true } };
  got.removeAccepted = text(await attempt(() => client.callTool({ name: 'remove', arguments: { name: 'x' } })));
  asks.answer = { action: 'decline' };
  got.removeDeclined = text(await attempt(() => client.callTool({ name: 'remove', arguments: { name: 'x' } })));
  got.asked = asks.messages;

  const wait = { name: 'wait', arguments: {} };
  const signal = AbortSignal.timeout(100);
  const begin = Date.now();
  got.cancelled = await attempt(() => (asks.v1 ? client.callTool(wait, undefined, { signal }) : client.callTool(wait, { signal })));
  got.cancelledAfter = Date.now() - begin;

  got.resources = (await client.listResources()).resources.map((r) => r.uri);
  got.templates = (await client.listResourceTemplates()).resourceTemplates.map((r) => r.uriTemplate);
  got.resource = (await client.readResource({ uri: 'note://there' })).contents[0].text;
  got.missing = await attempt(() => client.readResource({ uri: 'note://nothing' }));
  got.prompt = (await client.getPrompt({ name: 'greet', arguments: { who: 'Ada' } })).messages[0].content.text;
  got.completion = (await client.complete({ ref: { type: 'ref/prompt', name: 'greet' }, argument: { name: 'who', value: 'a' } })).completion.values;
  got.after = (await client.callTool({ name: 'add', arguments: { a: 20, b: 22 } })).structuredContent;
  await client.close();
  console.log(JSON.stringify(got));
}
