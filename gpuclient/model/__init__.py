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

"""Aliases, devices, hosts, flavors, capacity: the domain of this tool.

Pure functions and frozen dataclasses: no input or output, no SDK, no clock, no
environment. Beside the standard library only os-traits, os-resource-classes,
oslo.utils and the types of oslo.config are used. Any other package may import
this one; it imports :mod:`gpuclient.data`, :mod:`gpuclient.exceptions` and
:mod:`gpuclient.text`.
"""
