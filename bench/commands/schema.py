"""``cardbench schema``: what editors check scenario and rig files with."""

import json

import click


@click.command("schema")
@click.option("--rig", is_flag=True, help="The schema of rig files instead of scenario files.")
@click.option("--declaration", is_flag=True, help="The schema of declarations instead.")
@click.option("--order", is_flag=True, help="The schema of orders (what people state in a test report) instead.")
def schema_command(rig: bool, declaration: bool, order: bool) -> None:
    """Print the JSON Schema of scenario files, with every step that is installed.

    Editors that speak YAML complete and check files with it. In a file's first line, for example:

    \b
      # yaml-language-server: $schema=../../scenario.schema.json

    \b
    Examples:
      cardbench schema > scenario.schema.json
      cardbench schema --rig > rig.schema.json
      cardbench schema --declaration > declaration.schema.json
    """
    from bench.scenario.schema import DIALECT, declaration_schema, rig_schema, scenario_schema

    if rig + declaration + order > 1:
        raise click.UsageError("one of --rig, --declaration and --order")
    if order:
        from reports.certificate.order import Order

        schema = {"$schema": DIALECT, **Order.model_json_schema(), "title": "cardbench order"}
    else:
        schema = declaration_schema() if declaration else rig_schema() if rig else scenario_schema()
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
