"""``anyq completion``: what a shell needs to complete the commands and options of `anyq`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .shown import json_option, print_json

SHELLS = ("bash", "zsh", "fish")

#: What the shell sets when it asks, and how the program is called there.
VARIABLE, PROGRAM = "_ANYQ_COMPLETE", "anyq"


@click.command(short_help="Print the completion script of bash, zsh or fish.")
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
@click.pass_context
def completion(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the script with which a shell completes anyq's commands and options.

    Put it where your shell looks for such:

    bash: anyq completion bash > ~/.local/share/bash-completion/completions/anyq

    zsh: anyq completion zsh > ~/.zfunc/_anyq (a folder of your $fpath)

    fish: anyq completion fish > ~/.config/fish/completions/anyq.fish
    """
    found = get_completion_class(shell)
    assert found is not None, "click knows all three"
    script = found(context.find_root().command, {}, PROGRAM, VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
