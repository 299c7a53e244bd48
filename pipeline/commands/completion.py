"""`kitelift completion`: completes commands and options in a shell."""

from __future__ import annotations

from pipeline.commands.shared.arguments import COMMANDS, Arguments, options_of

_SCRIPT = """\
# bash: source <(kitelift completion); zsh: autoload -U bashcompinit && bashcompinit, then the same
_kitelift() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command=run argument options
  for argument in "${{COMP_WORDS[@]:1}}"; do
    case "$argument" in {patterns}) command="$argument"; break ;; esac
  done
  case "$command" in
{options}
  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  elif [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o default -F _kitelift kitelift
"""


def completion(arguments: Arguments) -> int:
    """Prints the completion script."""
    print(script(), end="")
    return 0


def script() -> str:
    """Returns a bash script with the commands and the options of each."""
    options = (
        f'    {command}) options="{" ".join(options_of(command))}" ;;' for command in COMMANDS
    )
    return _SCRIPT.format(
        patterns="|".join(COMMANDS), commands=" ".join(COMMANDS), options="\n".join(options)
    )
