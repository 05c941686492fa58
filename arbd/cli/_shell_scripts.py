"""The scripts that make a shell complete command lines of arbd; ``arbd.cli._complete`` has what they ask and are told.

They hold no list of commands or options: the arbd that stands on the line is asked, so they fit every version.
"""

from __future__ import annotations

from typing import Final

# COMP_WORDBREAKS cuts words at = : @, which stand within words of arbd (--hub=HOST:PORT, prices@2): they are put
# together again, and readline is given only what belongs behind the last cut, where an @ belongs to what follows it.
_BASH: Final = r"""# Completion of arbd for bash 4.4 and later. For this shell only:   eval "$(arbd completion bash)"
# For good, where the package bash-completion is installed:
#   mkdir -p ~/.local/share/bash-completion/completions
#   arbd completion bash > ~/.local/share/bash-completion/completions/arbd
# and elsewhere: the line with eval, in ~/.bashrc.

_arbd_completion() {
    local IFS=$' \t\n' rest=${COMP_LINE:0:COMP_POINT} word i
    local -a words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            word=${rest#"${rest%%[![:blank:]]*}"}
        fi
        if ((i > 0)) && [[ $rest != [[:blank:]]* && -n $rest ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        rest=${rest#*"$word"}
    done

    local current=${words[${#words[@]}-1]} cut=
    for i in = : @; do
        if [[ $COMP_WORDBREAKS == *"$i"* && $current == *"$i"* ]]; then
            word=${current%"${current##*"$i"}"} word=${word%@}
            ((${#word} <= ${#cut})) || cut=$word
        fi
    done

    local program=${1/#\~\//$HOME/} kind front value ending found
    COMPREPLY=()
    while IFS=$'\x1f' read -r kind front value ending; do
        case $kind in
            plain)
                COMPREPLY+=("${front}${value}")
                ;;
            file | dir)
                [[ $front == @ ]] || compopt -o filenames  # it would quote the @ as well
                while IFS= read -r found; do
                    if [[ -d ${found/#\~\//$HOME/} ]]; then
                        if [[ $front == @ ]]; then
                            printf -v found '%q/' "$found"
                            compopt -o nospace
                        fi
                    elif [[ $kind == file && $found == *"$ending" ]]; then
                        [[ $front != @ ]] || printf -v found '%q' "$found"
                    else
                        continue
                    fi
                    COMPREPLY+=("${front}${found}")
                done < <(compgen -f -- "$value")
                ;;
        esac
    done < <(_ARBD_COMPLETE=1 "$program" "${words[@]:1}" 2>/dev/null)

    for i in "${!COMPREPLY[@]}"; do
        COMPREPLY[i]=${COMPREPLY[i]#"$cut"}
    done
}

complete -o nosort -F _arbd_completion arbd
"""

_ZSH: Final = r"""#compdef arbd
# Completion of arbd for zsh. For this shell only:   eval "$(arbd completion zsh)"
# For good, as a file in a directory of $fpath, before compinit is called in ~/.zshrc:
#   mkdir -p ~/.zfunc && arbd completion zsh > ~/.zfunc/_arbd
#   fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit

_arbd() {
    local program=${words[1]/#\~\//$HOME/} line front
    local -a fields plain described
    local -a told=("${(@f)$(_ARBD_COMPLETE=1 "$program" "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${told[@]}"; do
        fields=("${(@ps:\x1f:)line}")
        (( ${#fields} == 4 )) || continue
        front=$fields[2]
        case $fields[1] in
            plain)
                plain+=("${fields[3]}")
                if [[ -n $fields[4] ]]; then
                    described+=("${fields[3]//:/\\:}:${fields[4]}")
                else
                    described+=("${fields[3]//:/\\:}")
                fi
                ;;
            file)
                [[ -z $front ]] || compset -P "${(b)front}"
                if [[ -n $fields[4] ]]; then
                    _files -g "*${fields[4]}"
                else
                    _files
                fi
                ;;
            dir)
                [[ -z $front ]] || compset -P "${(b)front}"
                _files -/
                ;;
        esac
    done
    if (( ${#plain} )); then
        [[ -z $front ]] || compset -P "${(b)front}"
        _describe -V 'arbd' described plain
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _arbd "$@"  # as a file in a directory of $fpath
else
    compdef _arbd arbd
fi
"""

_FISH: Final = r"""# Completion of arbd for fish 3.1 and later. For this shell only:   arbd completion fish | source
# For good:
#   mkdir -p ~/.config/fish/completions
#   arbd completion fish > ~/.config/fish/completions/arbd.fish

function __arbd_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    for line in (_ARBD_COMPLETE=1 $program $words[2..-1] "$current" 2>/dev/null)
        set -l fields (string split \x1f -- $line)
        set -l front $fields[2]
        switch $fields[1]
            case plain
                printf '%s%s\t%s\n' "$front" $fields[3] "$fields[4]"
            case file dir
                for found in (string replace -r '^~/' "$HOME/" -- "$fields[3]")*
                    if test -d $found
                        printf '%s%s/\n' "$front" $found
                    else if test $fields[1] = file; and string match -q -- "*$fields[4]" $found
                        printf '%s%s\n' "$front" $found
                    end
                end
        end
    end
end

complete --command arbd --no-files --keep-order --arguments '(__arbd_complete)'
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
