/** Options of mount(8), `-o NAME=VALUE,...`: ours, those of every file system, and those of the reference's client. */

import { ThimbleError } from '../core/errors.ts';
import type { GivenSetting } from './layers.ts';
import { nearestName } from './nearest-name.ts';
import { rowOf, SETTING_NAMES, type SettingName } from './setting-table.ts';

export interface MountOptionList {
  readonly settings: ReadonlyMap<SettingName, GivenSetting>;
  /** Of `config=`: files in place of `/etc/cvmfs`. */
  readonly cvmfsConfig: string | undefined;
}

/** For mount(8), systemd and autofs, or true of every mount of ours. */
const NOTHING_TO_DO =
  /^(defaults|r[ow]|exec|no?auto|nouser|nogroup|noowner|(no|rel|norel|strict)?atime|(no)?diratime|lazytime|nolazytime|async|silent|loud|nofail|_netdev|allow_other|default_permissions|system_mount|grab_mountpoint|disable_watchdog|simple_options_parsing|(x-|X-).*|comment=.*|fsname=.*|subtype=.*|libfuse=.*)$/;

/** Words of every file system that are settings here. */
const SWITCHES: Readonly<Record<string, readonly [SettingName, string]>> = {
  suid: ['mount.suid', 'yes'],
  nosuid: ['mount.suid', 'no'],
  cvmfs_suid: ['mount.suid', 'yes'],
  dev: ['mount.dev', 'yes'],
  nodev: ['mount.dev', 'no'],
  noexec: ['mount.exec', 'no'],
};

/** What mount(8) makes of `user`, `users`, `owner` and `group`; what comes behind it counts. */
const OF_USERS = /^(users?|owner|group)(=.*)?$/;

/** Flags by their names, and settings by theirs. */
function settingNamed(name: string): SettingName | undefined {
  const isCvmfs = /^_?CVMFS_/.test(name);
  return SETTING_NAMES.find((setting) => {
    const row = rowOf(setting);
    if (isCvmfs) return row.cvmfs?.[0] === name && row.fromCvmfs === undefined;
    return setting === name || row.flag === name;
  });
}

/** Throws USAGE for options that nobody knows: a misspelt one would do nothing. */
export function parseMountOptions(texts: readonly string[]): MountOptionList {
  const settings = new Map<SettingName, GivenSetting>();
  let cvmfsConfig: string | undefined;
  const set = (name: SettingName, text: string, where: string) => {
    const separator = rowOf(name).kind.separator;
    const before = separator === undefined ? undefined : settings.get(name)?.text;
    settings.set(name, { text: before === undefined ? text : `${before}${separator}${text}`, where });
  };
  for (const option of texts.flatMap(splitOptions)) {
    const [name = '', ...rest] = option.split('=');
    const switched = SWITCHES[option];
    if (switched !== undefined) set(...switched, `-o ${name}`);
    else if (OF_USERS.test(option)) {
      for (const word of ['nosuid', 'nodev', 'noexec'])
        set(...(SWITCHES[word] as readonly [SettingName, string]), `-o ${name}`);
    } else if (name === 'config' && rest.length > 0) cvmfsConfig = rest.join('=');
    else if (!NOTHING_TO_DO.test(option)) {
      const setting = settingNamed(name);
      if (setting === undefined) throw unknownOption(name);
      set(setting, rest.length === 0 ? 'yes' : rest.join('='), `-o ${name}`);
    } else if (option === 'exec') settings.delete('mount.exec');
  }
  return { settings, cvmfsConfig };
}

/** Commas in double quotes are no separators. */
function splitOptions(text: string): string[] {
  const options = text.match(/(?:"[^"]*"|[^,"]|")+/g) ?? [];
  return options.map((option) => option.replaceAll('"', '').trim()).filter((option) => option !== '');
}

function unknownOption(name: string): ThimbleError {
  const flags = SETTING_NAMES.flatMap((setting) => rowOf(setting).flag ?? []);
  const nearest = nearestName(name, [...flags, ...SETTING_NAMES, ...Object.keys(SWITCHES), 'config']);
  return new ThimbleError('USAGE', `Cannot use mount option ${JSON.stringify(name)}: it is not known`, {
    hint: nearest === undefined ? 'see: thimble config show --all' : `did you mean "${nearest}"?`,
  });
}
