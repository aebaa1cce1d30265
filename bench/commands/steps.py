"""``cardbench steps``: the reference of the steps."""

import click


@click.command("steps")
@click.argument("verb", required=False)
@click.option("--markdown", is_flag=True, help="Every step (or VERB) as a page of Markdown.")
def steps_command(verb: str | None, markdown: bool) -> None:
    """List the steps that scenario files are made of, or explain one.

    The pages are made from the steps themselves, those of other installed packages included (entry-point group
    cardbench.steps).

    \b
    Examples:
      cardbench steps
      cardbench steps transfer
      cardbench steps --markdown > steps.md
    """
    from bench.files.models import suggestion
    from bench.scenario.reference import page
    from bench.scenario.registry import step_classes

    known = step_classes()
    if verb is not None and verb not in known:
        raise click.UsageError(f"there is no step {verb!r}{suggestion(verb, known)}; there are {', '.join(known)}")
    pages = [page(step) for name, step in known.items() if verb in (None, name)]
    if markdown:
        click.echo("\n\n".join(each.markdown() for each in pages))
    elif verb is not None:
        click.echo(pages[0].plain())
    else:
        width = max(len(each.verb) for each in pages)
        for each in pages:
            click.echo(f"{each.verb:<{width}}  {each.summary}")
        click.echo("\ncardbench steps VERB explains one.")
