import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { sampleStatus } from '../../test/support/sample-status.ts';
import { METRICS, renderMetrics } from './metrics.ts';

test('renderMetrics() writes counters and gauges with the mount as labels', async () => {
  const { contentType, text } = await renderMetrics(sampleStatus());
  assert.match(contentType, /^text\/plain/);
  const labels = '\\{fqrn="os.example.org",mountpoint="/mnt/os"\\}';
  assert.match(text, /^# TYPE thimble_mount_fetched_bytes_total counter$/m);
  assert.match(text, /^# TYPE thimble_mount_revision gauge$/m);
  assert.match(text, new RegExp(`^thimble_mount_revision${labels} 12$`, 'm'));
  assert.match(text, new RegExp(`^thimble_mount_kernel_waited_seconds_total${labels} 1\\.5$`, 'm'));
  assert.match(text, new RegExp(`^thimble_mount_cache_healthy${labels} 1$`, 'm'));
  assert.match(text, /^thimble_mount_operations_total\{.*operation="READ"\} 90$/m);
  assert.match(text, /^thimble_mount_info\{.*tag="v1",version="0\.1\.0"\} 1$/m);
});

test('renderMetrics() leaves out what a mount does not have', async () => {
  const { text } = await renderMetrics({ ...sampleStatus(), cache: undefined, updates: undefined });
  assert.doesNotMatch(text, /thimble_mount_cache|thimble_mount_checked|NaN|undefined/);
});

test('every figure is in the manual', () => {
  const manual = readFileSync(new URL('../../docs/manual/status.md', import.meta.url), 'utf8');
  const missing = METRICS.map(({ name }) => name).filter((name) => !manual.includes(`\`${name}\``));
  assert.deepEqual(missing, []);
});
