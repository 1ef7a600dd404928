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

"""Nova's messages contain values that our messages omit."""

import re

from gpuclient.model import quoting


def difference(theirs: Exception, ours: Exception) -> str | None:
    """Return how two messages differ; None if ours is Nova's."""
    # Ours have one line.
    shown = as_ours(theirs, ours)
    if ''.join(shown.split()) == ''.join(str(ours).split()):
        return None
    return f'messages: Nova says {theirs}, we say {ours}'


def as_ours(theirs: object, ours: object) -> str:
    """Return Nova's message, without the values that our message omits."""
    pattern = '.*'.join(
        map(
            re.escape,
            re.split(rf'{re.escape(quoting.MASK)}| \.\.\. ?', str(ours)),
        )
    )
    if re.fullmatch(pattern, str(theirs), re.DOTALL):
        return str(ours)
    return str(theirs)
