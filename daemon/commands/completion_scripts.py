"""Completion scripts for bash, zsh and fish, made from the command line itself so that they cannot fall behind.

Own generators rather than shtab: it would be a dependency at run time, and needs every path argument marked by hand,
which the parser's types already say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from daemon.commands.tree import Argument, Command

BASH = """# bash completion for dfld; source it, or put it into /usr/share/bash-completion/completions/dfld
_dfld_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_dfld_paths() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen "$1" -- "$cur"); }
_dfld() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=dfld index
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case "$command ${COMP_WORDS[index]}" in
            @COMMANDS@) command="$command ${COMP_WORDS[index]}" ;;
        esac
    done
    case "$command:$previous" in
@VALUES@
    esac
    case "$command" in
@WORDS@
    esac
}
complete -F _dfld dfld
"""
BASH_ACTION = {"file": "_dfld_paths -f", "folder": "_dfld_paths -d", "": "COMPREPLY=()"}
ZSH_ACTION = {"file": "_files", "folder": "_files -/", "": " "}
FISH_ACTION = {"file": "-r -F", "folder": "-x -a '(__fish_complete_directories)'", "": "-x"}


def bash_script(root: Command) -> str:
    """Return the script for bash 4 and newer."""
    commands = [command for command in root.walk() if command is not root]
    values = [
        f"        {_bash_places(command, option)}) {_bash_action(option)}; return ;;"
        for command in root.walk()
        for option in command.options
        if option.value
    ]
    words = [f'        "{_spaced(one)}") {_bash_words(one)} ;;' for one in root.walk()]
    known = " | ".join(f'"{_spaced(one)}"' for one in commands)
    return BASH.replace("@COMMANDS@", known).replace("@VALUES@", "\n".join(values)).replace("@WORDS@", "\n".join(words))


def zsh_script(root: Command) -> str:
    """Return the script for zsh's completion system: one function a command."""
    lines = ["#compdef dfld", "# zsh completion for dfld; put it as _dfld into a folder of $fpath"]
    for command in root.walk():
        lines += _zsh_function(command)
    return "\n".join([*lines, '[[ $funcstack[1] = _dfld ]] && _dfld "$@" || compdef _dfld dfld', ""])


def fish_script(root: Command) -> str:
    """Return the script for fish 3 and newer."""
    lines = ["# fish completion for dfld; put it into ~/.config/fish/completions/dfld.fish", "complete -c dfld -f"]
    for command in root.walk():
        lines += _fish_lines(command)
    return "\n".join([*lines, ""])


SCRIPTS: Mapping[str, Callable[[Command], str]] = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}


def _bash_places(command: Command, option: Argument) -> str:
    return " | ".join(f'"{_spaced(command)}:{flag}"' for flag in option.flags)


def _bash_action(argument: Argument) -> str:
    return f'_dfld_words "{" ".join(argument.choices)}"' if argument.choices else BASH_ACTION[argument.completes]


def _bash_words(command: Command) -> str:
    flags = [flag for option in command.options for flag in option.flags]
    positional = command.positionals[0] if command.positionals else None
    words = [one.name for one in command.commands] or list(positional.choices if positional else ())
    ask = f'_dfld_words "{" ".join(words + flags)}"'
    if positional is None or positional.completes not in ("file", "folder"):
        return ask
    return f"if [[ $cur == -* ]]; then {ask}; else {BASH_ACTION[positional.completes]}; fi"


def _zsh_function(command: Command) -> Iterator[str]:
    name = f"_{'_'.join(command.path)}".replace("-", "_")
    specs = [spec for option in command.options for spec in _zsh_option(option)]
    if command.commands:
        specs += ["'1: :->command'", "'*:: :->rest'"]
    else:
        specs += [f"'{'*' if one.repeats else ''}:{_zsh(one.value)}:{_zsh_action(one)}'" for one in command.positionals]
    yield f"{name}() {{"
    yield "  local curcontext=$curcontext state line"
    yield "  _arguments -C \\\n    " + " \\\n    ".join(specs)
    if command.commands:
        described = " ".join(f"'{one.name}:{_zsh(one.help)}'" for one in command.commands)
        yield f"  local -a commands=({described})"
        yield "  case $state in"
        yield "    command) _describe command commands ;;"
        yield f"    rest) (( $+functions[{name}_${{line[1]//-/_}}] )) && {name}_${{line[1]//-/_}} ;;"
        yield "  esac"
    yield "}"


def _zsh_option(option: Argument) -> Iterator[str]:
    value = f":{_zsh(option.value)}:{_zsh_action(option)}" if option.value else ""
    for flag in option.flags:
        joined = "=" if value and flag.startswith("--") else ""  # --format jpg and --format=jpg alike
        yield f"'{'*' if option.repeats else ''}{flag}{joined}[{_zsh(option.help)}]{value}'"


def _zsh_action(argument: Argument) -> str:
    return f"({' '.join(argument.choices)})" if argument.choices else ZSH_ACTION[argument.completes]


def _zsh(text: str) -> str:
    for special in ("\\", ":", "[", "]"):
        text = text.replace(special, f"\\{special}")
    return text.replace("'", "'\\''")


def _fish_lines(command: Command) -> Iterator[str]:
    seen = "; and ".join(f"__fish_seen_subcommand_from {name}" for name in command.path[1:])
    below = " ".join(one.name for one in command.commands)
    here = "; and ".join(part for part in (seen, f"not __fish_seen_subcommand_from {below}" if below else "") if part)
    for one in command.commands:
        yield f"complete -c dfld -n '{here}' -a {one.name} -d {_fish(one.help)}"
    for positional in command.positionals:
        action = f"-a '{' '.join(positional.choices)}'" if positional.choices else FISH_ACTION[positional.completes]
        if positional.choices or positional.completes:
            yield f"complete -c dfld -n '{here}' {action.removeprefix('-r ')}"
    for option in command.options:
        flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
        action = f"-x -a '{' '.join(option.choices)}'" if option.choices else FISH_ACTION[option.completes]
        yield f"complete -c dfld -n '{here}' {flags}{f' {action}' if option.value else ''} -d {_fish(option.help)}"


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _spaced(command: Command) -> str:
    return " ".join(command.path)
