/** `anneal completion`: the script that teaches a shell to complete `anneal`, and the words that it asks for. */
import { Argument, InvalidArgumentError } from 'commander';
import { defineCommand } from '../command.ts';
import { complete } from '../complete.ts';

// The scripts ask with `completion words -- WORDS`, and get a candidate and its description a line.
const FILES = ':files';

const scripts: Record<string, string> = {
  bash: `# Completion of anneal for bash.
_anneal() {
  local word rest current=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=()
  while IFS=$'\\t' read -r word rest; do
    if [[ $word == ${FILES} ]]; then
      compopt -o filenames
      while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
    else
      COMPREPLY+=("$word")
    fi
  done < <("\${COMP_WORDS[0]}" completion words -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _anneal anneal`,
  zsh: `#compdef anneal
# Completion of anneal for zsh.
_anneal() {
  local word rest files
  local -a candidates
  while IFS=$'\\t' read -r word rest; do
    if [[ $word == ${FILES} ]]; then files=1; else candidates+=("\${word//:/\\\\:}:$rest"); fi
  done < <("\${words[1]}" completion words -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  local missed=1
  (( $#candidates )) && _describe anneal candidates && missed=0
  [[ -n $files ]] && _files && missed=0
  return missed
}
compdef _anneal anneal`,
  fish: `# Completion of anneal for fish.
function __anneal_complete
  set -l words (commandline -opc) "$(commandline -ct)"
  for line in ($words[1] completion words -- $words[2..-1] 2>/dev/null)
    if test "$line" = ${FILES}
      __fish_complete_path "$(commandline -ct)"
    else
      echo $line
    end
  end
end
complete -c anneal -f -a '(__anneal_complete)'`,
};

export default defineCommand({
  options: (command) =>
    void command
      .usage('[options] bash|zsh|fish')
      .addArgument(new Argument('<shell>').choices(Object.keys(scripts)).argParser((word) => word))
      .addArgument(new Argument('[word...]')),
  examples: [
    ["echo 'source <(anneal completion bash)' >> ~/.bashrc", 'bash'],
    ["echo 'source <(anneal completion zsh)' >> ~/.zshrc", 'zsh, after compinit'],
    ['anneal completion fish > ~/.config/fish/completions/anneal.fish', 'fish'],
  ],
  async run({ args, out, connect }) {
    const [shell = '', ...words] = args;
    if (shell === 'words') {
      const { buildProgram } = await import('../program.ts');
      const program = await buildProgram(words, async () => {});
      const { candidates, files } = await complete(program, words, connect);
      for (const { word, description } of candidates) out.line(`${word}\t${description}`);
      if (files) out.line(FILES);
      return undefined;
    }
    const script = scripts[shell];
    if (script === undefined)
      throw new InvalidArgumentError(`There is no script for '${shell}': bash, zsh or fish.`);
    out.value({ shell, script });
    out.line(script);
    return undefined;
  },
});
