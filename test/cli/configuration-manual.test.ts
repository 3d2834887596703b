import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { SETTING_NAMES } from '../../src/config/setting-table.ts';
import { settingsManual, TABLE_BEGIN, TABLE_END } from '../support/settings-manual.ts';

const MANUAL = new URL('../../docs/manual/configuration.md', import.meta.url);

test('the manual has the table of all settings as the code has it', () => {
  const text = readFileSync(MANUAL, 'utf8');
  const [before, rest = ''] = text.split(TABLE_BEGIN);
  const wanted = `${before}${settingsManual()}${rest.split(TABLE_END)[1]}`;
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(MANUAL, wanted);
  else assert.equal(text, wanted, 'UPDATE_GOLDEN=1 writes it anew');
  for (const name of SETTING_NAMES) assert.ok(wanted.includes(`\`${name}\``), name);
});
