import type { Command, Option } from 'commander';
import { ThimbleError } from '../../core/errors.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** What can follow one command, by the words that lead to it (`''`, `repo`, `repo create`). */
interface CompletionRow {
  readonly words: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly {
    readonly flag: string;
    readonly summary: string;
    readonly hasValue: boolean;
  }[];
}

export function configure(command: Command): void {
  command
    .argument('<shell>', SHELLS.join(', '))
    .addHelpText(
      'after',
      '\nExamples:\n  thimble completion bash > /etc/bash_completion.d/thimble\n  thimble completion zsh > /usr/share/zsh/vendor-completions/_thimble\n  thimble completion fish > ~/.config/fish/completions/thimble.fish',
    )
    .action(async (shell: string) => {
      if (!SHELLS.includes(shell as Shell)) {
        throw new ThimbleError('USAGE', `Cannot complete for ${JSON.stringify(shell)}`, {
          hint: `shells are: ${SHELLS.join(', ')}`,
        });
      }
      // Only here, since every command is loaded to know its options.
      const { buildProgram } = await import('../program.ts');
      process.stdout.write(SCRIPTS[shell as Shell](rowsOf(await buildProgram(undefined), '')));
    });
}

function rowsOf(command: Command, words: string): CompletionRow[] {
  const row = {
    words,
    commands: command.commands.map((child) => ({ name: child.name(), summary: child.summary() })),
    options: [...command.options, ...globalOptionsOf(command)].map((option) => ({
      flag: option.long ?? option.short ?? '',
      summary: option.description,
      hasValue: option.required || option.optional,
    })),
  };
  const children = command.commands.flatMap((child) => rowsOf(child, `${words} ${child.name()}`.trim()));
  return [row, ...children];
}

function globalOptionsOf(command: Command): Option[] {
  return command.parent === null ? [] : [...command.parent.options, ...globalOptionsOf(command.parent)];
}

/** In single quotes, for all three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", '’')}'`;
}

const SCRIPTS: Readonly<Record<Shell, (rows: readonly CompletionRow[]) => string>> = {
  bash: (rows) => {
    const cases = rows.map(({ words, commands, options }) => {
      const all = [...commands.map(({ name }) => name), ...options.map(({ flag }) => flag), '--help'];
      return `    ${quoted(words)}) words=${quoted(all.join(' '))} ;;`;
    });
    const isCommand = rows.filter(({ words }) => words !== '').map(({ words }) => quoted(words));
    return `# bash completion of thimble
_thimble() {
  local current=\${COMP_WORDS[COMP_CWORD]} path= word words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [ "$word" = --config ] && { i=$((i + 1)); continue; }
    case "\${path:+$path }$word" in
      ${isCommand.join('|')}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _thimble thimble ./thimble
`;
  },
  zsh: (rows) => {
    const cases = rows.map(({ words, commands, options }) => {
      const described = [
        ...commands.map(({ name, summary }) => quoted(`${name}:${summary}`)),
        ...options.map(({ flag, summary }) => quoted(`${flag}:${summary}`)),
      ];
      return `    ${quoted(words)}) found=(${described.join(' ')}) ;;`;
    });
    const isCommand = rows.filter(({ words }) => words !== '').map(({ words }) => quoted(words));
    return `#compdef thimble
local path_words= word
local -a found
for word in "\${words[@]:1:$((CURRENT - 2))}"; do
  case "\${path_words:+$path_words }$word" in
    ${isCommand.join('|')}) path_words="\${path_words:+$path_words }$word" ;;
  esac
done
case "$path_words" in
${cases.join('\n')}
esac
_describe thimble found
_files
`;
  },
  fish: (rows) => {
    const lines = rows.flatMap(({ words, commands, options }) => {
      const condition = quoted(`__thimble_at "${words === '' ? '' : ` ${words}`}"`);
      return [
        ...commands.map(
          ({ name, summary }) => `complete -c thimble -f -n ${condition} -a ${name} -d ${quoted(summary)}`,
        ),
        ...options.map(
          ({ flag, summary, hasValue }) =>
            `complete -c thimble -n ${condition} -l ${flag.replace(/^--/, '')}${hasValue ? ' -r' : ''} -d ${quoted(summary)}`,
        ),
      ];
    });
    const isCommand = rows.filter(({ words }) => words !== '').map(({ words }) => quoted(` ${words}`));
    return `# fish completion of thimble
function __thimble_at
  set -l path
  for word in (commandline -opc)[2..-1]
    contains -- "$path $word" ${isCommand.join(' ')}; and set path "$path $word"
  end
  test "$path" = "$argv[1]"
end
${lines.join('\n')}
`;
  },
};
