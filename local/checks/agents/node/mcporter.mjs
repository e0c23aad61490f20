// mcporter: its command line, as an agent with a shell calls it
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { show } from './show.mjs';

const program = fileURLToPath(new URL('node_modules/mcporter/dist/cli.js', import.meta.url));

await show(async (url) => {
  const run = (args, signal) =>
    new Promise((resolve, reject) => {
      const options = { cwd: process.env.HOME, signal };
      execFile(process.execPath, [program, ...args, '--allow-http'], options, (e, stdout, stderr) => {
        if (e && e.code === 'ABORT_ERR') {
          reject(e);
        } else {
          resolve({ stdout, stderr, exit: e?.code ?? 0 });
        }
      });
    });
  let offered;
  return {
    async ask(model, signal) {
      if (!offered) {
        const { stdout } = await run(['list', url, '--schema', '--json'], signal);
        offered = JSON.parse(stdout).tools.map((t) => ({ name: t.name, description: t.description, schema: t.inputSchema }));
      }
      const { name, args } = model.turn(offered);
      model.turn(offered, await run(['call', `${url}.${name}`, '--args', JSON.stringify(args)], signal));
    },
    close: async () => {},
  };
});
