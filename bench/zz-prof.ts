import { inEnvironment } from './environment.ts';
import { done, noop } from './jobs.ts';
import { readFileSync } from 'node:fs';
import { execSync } from 'node:child_process';
const N = Number(process.env['N'] ?? 10000);
const cpu = () => {
  const out: Record<string, number> = {};
  const pids = execSync('pgrep -f "postgres|temporal-v1|zz-prof"').toString().trim().split('\n');
  for (const pid of pids) {
    try {
      const s = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const f = s.slice(s.lastIndexOf(')') + 2).split(' ');
      const name = s.slice(s.indexOf('(') + 1, s.lastIndexOf(')'));
      out[name] = (out[name] ?? 0) + Number(f[11]) + Number(f[12]);
    } catch {}
  }
  return out;
};
await inEnvironment({ jobs: [noop], callbacks: [done] }, async ({ batches, client }) => {
  for (let n = 0; n < Number(process.env['R'] ?? 6); n++) {
    const c0 = cpu();
    const m0 = process.cpuUsage();
    const t0 = performance.now();
    const batch = await batches.create({ description: 'x' });
    await batch.on('complete', done);
    const t1 = performance.now();
    let t2 = 0;
    await batch.jobs(async () => { for (let i = 0; i < N; i++) await noop.performAsync(i); t2 = performance.now(); });
    const t3 = performance.now();
    await batch.wait();
    const t4 = performance.now();
    const c1 = cpu();
    const m1 = process.cpuUsage(m0);
    console.log('on', (t1 - t0).toFixed(0), 'block', (t2 - t0).toFixed(0), 'sealed', (t3 - t0).toFixed(0), 'end', (t4 - t0).toFixed(0), 'rate', (N / (t4 - t0) * 1000).toFixed(0), 'node ms', m1.user / 1000 + m1.system / 1000, Object.fromEntries(Object.entries(c1).map(([k, v]) => [k, (v - (c0[k] ?? 0)) * 10])));
    if (process.env['H'] && n === Number(process.env['R'] ?? 6) - 1) {
      const { events } = await client.workflow.getHandle(`batch:${batch.id}`).fetchHistory();
      const base = Number(events![0]!.eventTime!.seconds) * 1000 + events![0]!.eventTime!.nanos! / 1e6;
      for (const e of events!) {
        const at = Number(e.eventTime!.seconds) * 1000 + e.eventTime!.nanos! / 1e6 - base;
        const k = Object.keys(e).find((k) => k.endsWith('Attributes'))!;
        const a: any = (e as any)[k];
        const p = a.input?.payloads?.[0]?.data ?? a.result?.payloads?.[0]?.data;
        console.log(at.toFixed(1), k.replace('EventAttributes', ''), p ? Buffer.from(p).toString().slice(0, 230) : '');
      }
    }
  }
});
