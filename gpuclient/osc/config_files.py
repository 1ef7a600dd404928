# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Options of commands that edit configuration files, and their results."""

import argparse
import collections.abc
import contextlib
import typing

from gpuclient.documents import editable
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.operations import configuration_edits
from gpuclient.osc import columns
from gpuclient.osc import command
from gpuclient.osc import options
from gpuclient.osc import streams

T = typing.TypeVar('T', bound=services.ServiceConfiguration)


def add_options(
    parser: argparse.ArgumentParser, *, of_api: bool = True
) -> None:
    """Add the options that name the files to edit, and ``--dry-run``.

    :param of_api: nova-api reads the edited options, too.
    """
    add_files(parser, of_api=of_api)
    options.add_dry_run(parser)


def add_files(parser: argparse.ArgumentParser, *, of_api: bool = True) -> None:
    """Add the options that name files.

    :param of_api: nova-api reads their options, too.
    """
    if of_api:
        _add_api_option(parser)
        parser.set_defaults(both=[services.API, services.COMPUTE])
    else:
        parser.set_defaults(api_files=[], both=[services.COMPUTE])
    parser.add_argument(
        '--compute-config',
        metavar='<path>',
        dest='compute_files',
        action='append',
        default=[],
        help=(
            'Configuration of nova-compute: a nova.conf, RHOSO YAML, a folder '
            'of drop-ins or the custom configuration of Kolla-Ansible, or - '
            'for standard input (repeat option for several)'
        ),
    )
    parser.add_argument(
        '--config',
        metavar='<path>',
        dest='files',
        action='append',
        default=[],
        help=(
            'Configuration of nova-api and nova-compute: a nova.conf that '
            'both read, RHOSO YAML of either or both, a folder of drop-ins '
            'or the custom configuration of Kolla-Ansible, or - for standard '
            'input (repeat option for several)'
        )
        if of_api
        else 'The same as --compute-config',
    )


def _add_api_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--api-config',
        metavar='<path>',
        dest='api_files',
        action='append',
        default=[],
        help=(
            'Configuration of nova-api: a nova.conf, RHOSO YAML, a folder of '
            'drop-ins or the custom configuration of Kolla-Ansible, or - for '
            'standard input (repeat option for several)'
        ),
    )


def paths(parsed_args: argparse.Namespace) -> tuple[str, ...]:
    """Return the files that the options name."""
    return (
        *parsed_args.api_files,
        *parsed_args.compute_files,
        *parsed_args.files,
    )


def read(
    parsed_args: argparse.Namespace,
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> list[configuration_edits.Edit[T]]:
    """Read the files that the options name."""
    return configuration_edits.read(
        [
            *((path, [services.API]) for path in parsed_args.api_files),
            *(
                (path, [services.COMPUTE])
                for path in parsed_args.compute_files
            ),
            *((path, parsed_args.both) for path in parsed_args.files),
        ],
        reader,
    )


def read_some(
    parsed_args: argparse.Namespace,
    reader: collections.abc.Callable[[str], tuple[T, ...]],
) -> list[configuration_edits.Edit[T]]:
    """Read the files that the options name, at least one."""
    edits = read(parsed_args, reader)
    if not edits:
        raise exceptions.InvalidValue(
            (
                'Nova has no API for this: pass configuration files with '
                '--config, --api-config or --compute-config'
            )
            if services.API in parsed_args.both
            else (
                'Nova has no API for this: pass configuration files with '
                '--compute-config'
            )
        )
    return edits


def present(
    edits: list[configuration_edits.Edit[T]], dry_run: bool
) -> columns.FilesColumn:
    """Return the files with their state and diff."""
    return columns.FilesColumn(
        [
            {
                'path': file.path,
                'services': edit.readers(file),
                'state': _state(file, dry_run),
                'diff': file.diff(),
            }
            for edit in edits
            for file in edit.shown
        ]
    )


def _state(file: editable.Editable, dry_run: bool) -> str:
    if not file.changed:
        return 'unchanged'
    if file.is_new:
        return 'would create' if dry_run else 'created'
    return 'would change' if dry_run else 'changed'


def write(
    shown: command.ShowOne,
    edits: list[configuration_edits.Edit[T]],
    *,
    dry_run: bool,
) -> None:
    """Write the files, all of them or none.

    An edited standard input goes to standard output.

    :param shown: The command that is run.
    :param dry_run: Only check whether they can be written.
    """
    try:
        written = configuration_edits.write(edits, dry_run=dry_run)
    except exceptions.UnsafeEdit as exc:
        if exc.patch:
            # For the user to apply by hand.
            with (
                contextlib.suppress(exceptions.OutputError),
                streams.guarded(shown.app.stdout),
            ):
                shown.app.stdout.write(columns.escape_lines(exc.patch))
        raise
    shown.document = written.document
    if written.paths:
        shown.done = (
            f'These files are already changed: {", ".join(written.paths)}'
        )
