/** The tables of docs/manual/configuration.md, from the code. */

import { environmentNameOf, rowOf, SETTING_NAMES, type SettingName } from '../../src/config/setting-table.ts';
import { UNUSED_PARAMETERS } from '../../src/config/unused-parameters.ts';

export const TABLE_BEGIN = '<!-- settings -->';
export const TABLE_END = '<!-- end of settings -->';

export function settingsManual(): string {
  const settings = SETTING_NAMES.map((name) => {
    const { meaning, flag, cvmfs = [] } = rowOf(name);
    const cells = [`\`${name}\``, cvmfs.map((one) => `\`${one}\``).join(', '), defaultOf(name), meaning];
    return `| ${[...cells, flag === undefined ? '' : `\`--${flag}\``].map(escaped).join(' | ')} |`;
  });
  const unused = Object.entries(UNUSED_PARAMETERS).map(([name, why]) => `| \`${name}\` | ${escaped(why)} |`);
  return [
    TABLE_BEGIN,
    '',
    '| Setting | CernVM-FS | Default | Meaning | Flag |',
    '|---|---|---|---|---|',
    ...settings,
    '',
    `Each can be set in the environment too: \`${SETTING_NAMES[0]}\` is \`${environmentNameOf(SETTING_NAMES[0] as SettingName)}\`.`,
    '',
    'Parameters that may be in the files and do nothing here:',
    '',
    '| CernVM-FS | Why |',
    '|---|---|',
    ...unused,
    '',
    TABLE_END,
  ].join('\n');
}

function defaultOf(name: SettingName): string {
  const { default: value, defaultText, kind } = rowOf(name);
  if (defaultText !== undefined) return defaultText;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (kind.yaml === 'text' && typeof value === 'number') return `${value / 1024 ** 2}M`;
  return Array.isArray(value) ? value.join(' ') || 'none' : String(value ?? 'none');
}

const escaped = (text: string) => text.replaceAll('|', '\\|');
