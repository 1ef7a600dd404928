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
"""Processes of Nova, of any release.

* ``jobs.py`` has what a process of Nova does in a rehearsal cloud: the
  start-up code of each service. A job is a dictionary that can be written as
  JSON.
* ``adapters.py`` has what differs between releases: an adapter for each
  group of them.
* ``driver.py`` is the compute driver.
* ``__main__.py`` is a program that imports Nova once and forks a process for
  each job.

In these processes Nova and its libraries may be older than those that the
rest of the package is written for. So these modules import only each other.
"""
