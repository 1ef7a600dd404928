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

"""What things are.

Pure: the standard library (and the two lists of names that OpenStack keeps,
os-traits and os-resource-classes), frozen dataclasses, no input or output, no
SDK, no clock, no environment. Everything else may import this package; it
imports nothing of ours but :mod:`gpuclient.exceptions`.
"""
