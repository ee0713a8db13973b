/** `completion`: what a shell needs to complete commands, options and file names. */
import type { Command } from './command.ts';
import { UsageError } from './command.ts';

/** @param commands by name; their help names their options */
export const completionOf = (commands: () => Readonly<Record<string, Command>>): Command => ({
  summary: 'print shell completion for bash, zsh or fish',
  help: `serve-daemon completion bash|zsh|fish

  bash   source <(serve-daemon completion bash)       in ~/.bashrc
  zsh    source <(serve-daemon completion zsh)        in ~/.zshrc, behind compinit
  fish   serve-daemon completion fish | source        in ~/.config/fish/config.fish
`,
  run: async ([shell, ...more]) => {
    const write = shell !== undefined && Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined;
    if (write === undefined || more.length > 0)
      throw new UsageError(
        `expected one of ${Object.keys(SHELLS).join(', ')}, got ${[shell, ...more].join(' ').trim() || 'nothing'}`,
      );
    const options = new Map(
      Object.entries(commands()).map(([name, { summary, help }]) => [name, { summary, options: optionsIn(help) }]),
    );
    process.stdout.write(write(options));
    return 0;
  },
});

type Known = ReadonlyMap<string, { readonly summary: string; readonly options: readonly string[] }>;

const optionsIn = (help: string): readonly string[] => [
  ...new Set([...help.matchAll(/^ {2}(--[a-z-]+)/gm)].map((match) => match[1] as string)),
  '--help',
];

const SHELLS: Readonly<Record<string, (known: Known) => string>> = {
  bash: (known) => `_serve_daemon() {
  local word=\${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${[...known.keys()].join(' ')} --config --help --version" -- "$word"))
    return
  fi
  local options=
  case \${COMP_WORDS[1]} in
${[...known].map(([name, { options }]) => `    ${name}) options="${options.join(' ')}" ;;`).join('\n')}
  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$options" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}
complete -o filenames -F _serve_daemon serve-daemon
`,
  zsh: (known) => `#compdef serve-daemon
_serve_daemon() {
  local -a commands
  commands=(
${[...known].map(([name, { summary }]) => `    ${quoted(`${name}:${summary}`)}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case \${words[2]} in
${[...known].map(([name, { options }]) => `    ${name}) compadd -- ${options.join(' ')} ;;`).join('\n')}
  esac
  _files
}
compdef _serve_daemon serve-daemon
`,
  fish: (known) =>
    [...known]
      .flatMap(([name, { summary, options }]) => [
        `complete -c serve-daemon -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
        ...options.map((option) => `complete -c serve-daemon -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`),
      ])
      .join('\n')
      .concat('\n'),
};

const quoted = (text: string): string => `'${text.replaceAll("'", '’')}'`;
