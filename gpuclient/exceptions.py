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

"""What can go wrong, as one family.

* GPUError
    + InvalidValue          a value of the user
        - InvalidAddress
        - InvalidAlias
        - InvalidCPUSet
        - InvalidData       in a file of one of our formats
        - InvalidDeviceSpec
        - InvalidHugePages
        - InvalidKernelArgument
    + DocumentError         a file that cannot be read or must not be edited
        - DocumentChanged   another process wrote it since it was read
        - UnsafeEdit        the edit is refused; carries it as a patch
    + CloudError            an API that refused, failed or did not respond
        - NotFound
        - Ambiguous         a name that several objects have
        - Unauthorized      the token or the credentials are refused
        - Forbidden         policy hides it from this user
        - Conflict          another user changed it at the same time
        - Unsupported       the cloud is older than the request needs
        - Unreachable       no endpoint, no connection, no response in time
    + HostError             a host, or a bundle of one, that cannot be read
    + OutputError           standard output cannot be written to
    + RehearsalError        the embedded cloud could not do what was asked
    + SnapshotError         a snapshot of a cloud that cannot be read
        - NotRecorded       a snapshot lacks the answer to a request

``str()`` of each is one complete line for the user: what failed, on which
object, the message of the server, what to do next. The shell prints it and
exits with status 1.
"""

from gpuclient import text

__all__ = [
    'Ambiguous',
    'CloudError',
    'Conflict',
    'DocumentChanged',
    'DocumentError',
    'Forbidden',
    'GPUError',
    'HostError',
    'InvalidAddress',
    'InvalidAlias',
    'InvalidCPUSet',
    'InvalidData',
    'InvalidDeviceSpec',
    'InvalidHugePages',
    'InvalidKernelArgument',
    'InvalidValue',
    'NotFound',
    'NotRecorded',
    'OutputError',
    'RehearsalError',
    'SnapshotError',
    'Unauthorized',
    'Unreachable',
    'UnsafeEdit',
    'Unsupported',
]


class GPUError(Exception):
    """Base class of everything that this package raises on purpose.

    :param message: What looks like a secret in it is not kept.
    """

    def __init__(self, message: object = '') -> None:
        # The plugin module imports this one, and nothing else.
        from gpuclient.model import quoting

        super().__init__(quoting.message(str(message)))

    def add(self, sentence: str) -> None:
        """Add what the command had done before, which stays."""
        self.args = (f'{str(self).removesuffix(".")}. {sentence}',)

    def __str__(self) -> str:
        # It may contain messages of servers and names of files.
        return text.one_line(super().__str__())


class InvalidValue(GPUError, ValueError):
    """A value of the user is invalid."""


class InvalidAddress(InvalidValue):
    """Not the address of a PCI device."""


class InvalidAlias(InvalidValue):
    """Not a ``[pci]alias`` that Nova would accept."""


class InvalidCPUSet(InvalidValue):
    """Not a set of CPUs that the program in question accepts."""


class InvalidData(InvalidValue):
    """Not what a file format requires; begins with the place in the file."""


class InvalidDeviceSpec(InvalidValue):
    """Not a ``[pci]device_spec`` that Nova would accept."""


class InvalidHugePages(InvalidValue):
    """Not a reservation or a size of memory pages."""


class InvalidKernelArgument(InvalidValue):
    """Not a kernel argument, or one that cannot be quoted safely."""


class DocumentError(GPUError):
    """A file cannot be read, or must not be edited.

    :param line: The line that the message is about, where it is one.
    """

    def __init__(self, message: object = '', line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class DocumentChanged(DocumentError):
    """The file changed after it was read; nothing was written."""


class UnsafeEdit(DocumentError):
    """The edit cannot be made safely; nothing was written.

    :param message: Why the edit is not safe, and of which file.
    :param patch: The unified diff that the user can apply by hand.
    """

    def __init__(self, message: str, patch: str = '') -> None:
        super().__init__(message)
        self.patch = patch


class CloudError(GPUError):
    """An API refused, failed or did not respond.

    :param message: What failed, on which object, the message of the server.
    :param status: The HTTP status; None without a response.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotFound(CloudError):
    """No object has this name or id."""


class Ambiguous(CloudError):
    """Several objects have this name; the message lists them."""


class Unauthorized(CloudError):
    """The service does not accept the token, or the credentials.

    Unlike :class:`Forbidden`, it does not depend on the requested object.
    """


class Forbidden(CloudError):
    """The policy of the service hides this from the user."""


class Conflict(CloudError):
    """Another user changed the object at the same time."""


class Unsupported(CloudError):
    """The cloud is older than the request needs."""


class Unreachable(CloudError):
    """No endpoint, no connection, or no response in time."""


class HostError(GPUError):
    """A host, or a bundle of one, cannot be read."""


class OutputError(GPUError):
    """Standard output is closed or full; what the command did stays."""


class RehearsalError(GPUError):
    """The embedded cloud could not do what was asked."""


class SnapshotError(GPUError):
    """A snapshot of a cloud cannot be read, or not be written."""


class NotRecorded(SnapshotError):
    """A snapshot lacks the answer to a request.

    Not a :class:`CloudError`: a read that goes on without an answer would show
    something else than the cloud.
    """


class DamagedPackage(GPUError):
    """A data file of the package is missing or damaged."""
